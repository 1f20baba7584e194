"""Random numbers from torch's global generator, and a generator that is a function of a seed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def mixed_seed(*numbers: int) -> int:
    """A seed below 2**63 that differs wherever one of the numbers does."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws in the block are a function of `seed`; torch's CPU generator is put back after it."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def happens(probability: float) -> bool:
    """True with `probability`; draws only where the answer is open."""
    return probability > 0 and (probability >= 1 or float(torch.rand(())) < probability)


def between(low: float, high: float) -> float:
    """A number from low to high; draws only where they differ."""
    return low if low == high else low + (high - low) * float(torch.rand(()))


def integer(low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, ()))
