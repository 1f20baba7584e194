"""`pedseg::suppress`, the one operator of pt2 artifacts that is not torch's or torchvision's.

Greedy NMS row by row has no operator there: torchvision's `batched_nms` branches on data, which
`torch.export` cannot follow. The runtime imports no torch, so whoever has it hands it over.
"""

from collections.abc import Callable
from typing import Any

NAME = "pedseg::suppress"
SCHEMA = "(Tensor boxes, Tensor scores, float iou_threshold, float floor) -> Tensor"


def suppression_by(torch: Any) -> Callable[..., Any]:
    """NMS over rows, as a function that `torch.jit.script` can compile.

    The annotations are evaluated, hence no `from __future__ import annotations` above: TorchScript
    finds no names inside strings.
    """

    def suppress_rows(
        boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, floor: float
    ) -> torch.Tensor:
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

    return suppress_rows


def register_suppression(torch: Any) -> None:
    """Make `pedseg::suppress` known to `torch`, once per process; torchvision must be imported."""
    if hasattr(torch.ops.pedseg, "suppress"):
        return
    operator = torch.library.custom_op(NAME, suppression_by(torch), mutates_args=(), schema=SCHEMA)
    operator.register_fake(lambda _boxes, scores, *_thresholds: torch.empty_like(scores))
