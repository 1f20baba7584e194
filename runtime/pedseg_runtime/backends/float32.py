"""Float32 that is float32 on CUDA: torch without TF32 while an artifact or eager computes in it.

By default torch lets cuDNN round the factors of a float32 convolution to TF32, ten bits of
mantissa. Neither the eager reference nor an artifact that is compared with it may be rounded so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

_EXACT = "ieee"


class _Settings:
    """The settings of torch, which hold for the whole process, and the blocks that need them off.

    Blocks may overlap, in one thread or in several: the first turns TF32 off, the last restores
    what was set before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._older: list[bool | None] = []
        self._newer: list[str] = []

    def turn_off(self, torch: Any) -> None:
        """Enter a block."""
        with self._lock:
            self._blocks += 1
            if self._blocks > 1:
                return
            older, newer = _places(torch)
            self._older = [_allows_tf32(place) for place in older]
            self._newer = [place.fp32_precision for place in newer]
            for place in older:
                place.allow_tf32 = False
            for place in newer:
                place.fp32_precision = _EXACT

    def restore(self, torch: Any) -> None:
        """Leave a block."""
        with self._lock:
            self._blocks -= 1
            if self._blocks > 0:
                return
            older, newer = _places(torch)
            for place, allowed in zip(older, self._older, strict=True):
                if allowed is not None:
                    place.allow_tf32 = allowed
            for place, precision in zip(newer, self._newer, strict=True):
                place.fp32_precision = precision


_settings = _Settings()


@contextlib.contextmanager
def float32_only(torch: Any) -> Iterator[None]:
    """Disable TF32 on CUDA for the whole process while the block runs.

    Args:
        torch: the module; the runtime does not import it.
    """
    _settings.turn_off(torch)
    try:
        yield
    finally:
        _settings.restore(torch)


def _places(torch: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Where torch keeps `allow_tf32`, and where `fp32_precision`, which is newer.

    Both are set: `allow_tf32` alone leaves a general `torch.backends.fp32_precision = "tf32"` in
    force, and torch refuses to read it where the two contradict each other.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return (matmul, cudnn), (matmul, cudnn.conv, cudnn.rnn)


def _allows_tf32(place: Any) -> bool | None:
    """The older setting of `place`; None where only the newer ones were used."""
    try:
        return bool(place.allow_tf32)
    except RuntimeError:
        return None
