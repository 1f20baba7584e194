"""What every format yields: a converted graph that waits for its manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pedseg_runtime.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A converted graph in memory.

    Attributes:
        exporter: what converted it.
        opset: ONNX opset, None for other formats.
        facts: what is worth knowing of the result, e.g. its node count.
        write: writes the artifact with a manifest inside; may be called again with another one.
    """

    exporter: str
    write: Callable[[Path, Manifest], None]
    opset: int | None = None
    facts: Mapping[str, int]
