"""`torch.export` of the inference graph: the first step of the ONNX and the pt2 format."""

from __future__ import annotations

import torch
from torch.export import Dim, ExportedProgram

from ..graph import InferenceGraph

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
