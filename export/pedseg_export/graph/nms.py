"""Non-maximum suppression over many rows at once, as one operator with an ONNX translation.

torchvision's `batched_nms` chooses its algorithm by size and device and branches on data, which
neither exports nor batches. ONNX NonMaxSuppression has a batch axis of its own, so every
(image, level) and every (image, class) becomes a row and no box has to be moved by an offset, which
would lose low bits in float32.

The operator returns the scores with suppressed entries set to -1, below every probability, instead
of the indices of kept boxes: its output shape is known, so that no shape depends on data.
"""

from __future__ import annotations

import torch
import torchvision  # noqa: F401  registers torchvision's NMS
from torch import Tensor

from pedseg_runtime.backends.torch import register_suppression, suppression_by

suppress_rows = suppression_by(torch)
register_suppression(torch)


def keep_where(keep: Tensor, scores: Tensor) -> Tensor:
    """`scores` where `keep` holds, -1 elsewhere; both of one shape."""
    return torch.where(keep, scores, -1.0)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, floor: float) -> Tensor:
    """`suppression_by`'s NMS, as the operator `pedseg::suppress` except in TorchScript.

    TorchScript files must load without pedseg, so that scripting compiles the loop itself.
    """
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        scripted: Tensor = suppress_rows(boxes, scores, iou_threshold, floor)
        return scripted
    kept: Tensor = torch.ops.pedseg.suppress(boxes, scores, iou_threshold, floor)
    return kept
