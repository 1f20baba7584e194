"""A converted graph, before its manifest is known: the common result of all formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pedseg_runtime.artifact.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A converted graph in memory.

    Attributes:
        exporter: name of the converter.
        opset: ONNX opset, None for other formats.
        operators: ONNX operator -> its count in the graph; empty for other formats.
        notes: what stays in float32 in a lower precision, and why.
        write: writes the artifact, without checksum, given a path, a manifest and perhaps encoded
            self-test samples; may be called again with others.
    """

    exporter: str
    write: Callable[[Path, Manifest, str | None], None]
    notes: tuple[str, ...] = ()
    opset: int | None = None
    operators: Mapping[str, int] = field(default_factory=dict)
