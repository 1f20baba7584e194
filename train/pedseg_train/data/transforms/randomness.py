"""Random numbers from torch's global generator, and a generator that is a function of a seed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def mixed_seed(*numbers: int) -> int:
    """A seed below 2**63 from several numbers; any other number gives another seed."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator for the block, and restore its state afterwards."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def bernoulli(probability: float) -> bool:
    """True with `probability`; draws nothing for 0 and 1."""
    return probability > 0 and (probability >= 1 or float(torch.rand(())) < probability)


def uniform(low: float, high: float) -> float:
    """A number from low to high; draws nothing if they are equal."""
    return low if low == high else low + (high - low) * float(torch.rand(()))


def randint(low: int, high: int) -> int:
    """An integer from low to high, both included."""
    return int(torch.randint(low, high + 1, ()))
