"""Non-maximum suppression over many rows at once, as one operator with an ONNX translation.

torchvision's `batched_nms` chooses its algorithm by size and device and branches on data, which
neither exports nor batches. ONNX NonMaxSuppression has a batch axis of its own, so every
(image, level) and every (image, class) becomes a row and no box has to be moved by an offset, which
would cost float32 its low bits.

The operator returns the scores with suppressed entries set to -1, not the indices that
survive: its output shape is known, so the graph around it stays free of data-dependent shapes.
A suppressed score is -1, below every probability.
"""

from __future__ import annotations

import torch
from torch import Tensor


def suppress_unless(keep: Tensor, scores: Tensor) -> Tensor:
    """`scores` where `keep` holds, -1 elsewhere; both of one shape."""
    return torch.where(keep, scores, -1.0)


def suppress_rows(boxes: Tensor, scores: Tensor, iou_threshold: float, floor: float) -> Tensor:
    """Greedy NMS in each row on its own, by `torchvision.ops.nms`.

    Args:
        boxes: float32 [B, P, 4], x1 y1 x2 y2.
        scores: float32 [B, P].
        iou_threshold: boxes that overlap a better one by more than this are suppressed.
        floor: entries with a score of at most `floor` take no part and are suppressed.

    Returns:
        float32 [B, P]: the score where a box survives, -1 elsewhere.
    """
    kept = torch.full_like(scores, -1.0)
    for row in range(scores.shape[0]):
        candidates = torch.nonzero(scores[row] > floor).squeeze(1)
        survivors = candidates[
            torch.ops.torchvision.nms(
                boxes[row][candidates], scores[row][candidates], iou_threshold
            )
        ]
        kept[row, survivors] = scores[row][survivors]
    return kept


suppress_operator = torch.library.custom_op(
    "pedseg::suppress",
    suppress_rows,
    mutates_args=(),
    schema="(Tensor boxes, Tensor scores, float iou_threshold, float floor) -> Tensor",
)


@suppress_operator.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, floor: float) -> Tensor:  # noqa: ARG001
    return torch.empty_like(scores)


def suppress(boxes: Tensor, scores: Tensor, iou_threshold: float, floor: float) -> Tensor:
    """`suppress_rows`, as the operator `pedseg::suppress` wherever one can be exported.

    TorchScript files must load without pedseg, so scripting compiles the loop itself.
    """
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return suppress_rows(boxes, scores, iou_threshold, floor)
    kept: Tensor = torch.ops.pedseg.suppress(boxes, scores, iou_threshold, floor)
    return kept
