"""What every format yields: a converted graph that waits for its manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pedseg_runtime.artifact.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A converted graph in memory.

    Attributes:
        exporter: what converted it.
        opset: ONNX opset, None for other formats.
        operators: ONNX operator -> how often the graph has it; empty for other formats.
        notes: what stays in float32 in a lower precision, and why.
        write: writes the artifact, without its checksum, with a manifest and perhaps self-test
            samples inside; may be called again with others.
    """

    exporter: str
    write: Callable[[Path, Manifest, str | None], None]
    notes: tuple[str, ...] = ()
    opset: int | None = None
    operators: Mapping[str, int] = field(default_factory=dict)
