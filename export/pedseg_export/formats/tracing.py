"""`torch.export` of the inference graph: where the ONNX and the pt2 format begin."""

from __future__ import annotations

import torch
from torch.export import Dim, ExportedProgram

from ..graph import InferenceGraph

Shape = tuple[int, int, int]
EXAMPLE: Shape = (2, 160, 200)  # no 0, no 1 and no two alike: the exporter would specialise them


def trace(graph: InferenceGraph, static_shape: Shape | None) -> ExportedProgram:
    """Export `graph` with N, H and W free, or all three fixed to `static_shape`.

    Free, the example input decides nothing but a type and a number of dimensions.
    """
    images = torch.zeros((*(static_shape or EXAMPLE), 3), dtype=torch.uint8)
    dynamic = None if static_shape else ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC},)
    return torch.export.export(graph, (images,), dynamic_shapes=dynamic, strict=False)
