"""What the formats share: the draft that each yields, extra files, and `torch.export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from pedseg_runtime.artifact.manifest import MANIFEST_FILE, SELF_TEST_FILE, Manifest

from ..graph import InferenceGraph


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


def extra_files(manifest: Manifest, self_test: str | None) -> dict[str, bytes]:
    """File name in the archive -> content: the manifest and perhaps the self-test samples."""
    files = {MANIFEST_FILE: manifest.to_json().encode()}
    if self_test is not None:
        files[SELF_TEST_FILE] = self_test.encode()
    return files


Shape = tuple[int, int, int]
EXAMPLE: Shape = (
    2,
    160,
    200,
)  # 0, 1 and equal sizes would be specialised


def trace(graph: InferenceGraph, static_shape: Shape | None) -> ExportedProgram:
    """Export `graph` with N, H and W free, or all three fixed to `static_shape`."""
    images = torch.zeros((*(static_shape or EXAMPLE), 3), dtype=torch.uint8)
    dynamic = None if static_shape else ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC},)
    return torch.export.export(graph, (images,), dynamic_shapes=dynamic, strict=False)
