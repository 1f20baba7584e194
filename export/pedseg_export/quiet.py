"""Exporters warn a lot. Known noise is dropped, the rest is told in one line each."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator

KNOWN_NOISE = (
    r"`torch\.jit\.\w+` is deprecated",  # TorchScript is what the user asked for
    r"`torch\.jit\.\w+` is not supported in Python",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"# 'dynamic_axes' is not recommended",
)


def silent(_line: str) -> None:
    """The listener that does not listen."""


@contextlib.contextmanager
def told_briefly(notify: Callable[[str], object]) -> Iterator[None]:
    """Capture Python warnings inside the block and pass each unknown one on, once, as one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    lines = dict.fromkeys(" ".join(str(item.message).split()) for item in caught)
    for line in lines:
        if not any(re.search(pattern, line) for pattern in KNOWN_NOISE):
            notify(f"exporter: {line[:160]}")
