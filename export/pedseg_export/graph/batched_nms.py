"""Greedy NMS of all rows at once: a fixed number of matrix products instead of a serial kernel.

onnxruntime's CUDA kernel treats one row after the other, each with two synchronisations. The
formulation here has no order of evaluation (its ONNX is in `formats.onnx_nms`):

Let S[i, j] hold if box i comes before box j (by score, then by index) and overlaps it by more than
the threshold. Greedy NMS keeps j if it keeps no i with S[i, j]: its answer is the only fixed point
of F(keep)[j] = not any(S[i, j] and keep[i]), since every box depends on earlier ones alone.

From keep = all, every application of F settles one more link of each chain of dependencies. F is
antitone, so an even number of rounds gives an upper bound of the answer and an odd number a lower
one. Two equal rounds are the answer. Where they differ after the last, the row is answered by
ONNX NonMaxSuppression: exact for every input, and the serial kernel sees only such rows.

Rows of proposals took 2 to 14 rounds on photographs and generated streets, rows of classified boxes
3 to 7. A chain of boxes, each of which overlaps the next, takes as many as it has links.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .nms import suppress_rows

# Even: the last round is an upper bound.
PROPOSAL_ROUNDS, BOX_ROUNDS = 16, 8


@torch.library.custom_op("pedseg::suppress_batched", mutates_args=())
def suppress_batched(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    floor: float,
    width: int,  # noqa: ARG001  what follows are settings of the ONNX translation
    is_sorted: bool,  # noqa: ARG001
    rounds: int,  # noqa: ARG001
) -> Tensor:
    """`pedseg::suppress`, whose ONNX treats the `width` best entries of every row at once.

    Args:
        boxes: float32 [B, P, 4], x1 y1 x2 y2.
        scores: float32 [B, P].
        iou_threshold: boxes that overlap a better one by more than this are suppressed.
        floor: entries with a score of at most `floor` take no part and are suppressed.
        width: at most P; a row with as many candidates is answered by NonMaxSuppression, except
            where it is P.
        is_sorted: whether rows stand by falling score, apart from entries that take no part.
        rounds: an even number of applications of F.

    Returns:
        float32 [B, P]: the score where a box survives, -1 elsewhere.
    """
    kept: Tensor = suppress_rows(boxes, scores, iou_threshold, floor)
    return kept


@suppress_batched.register_fake
def _(
    boxes: Tensor,  # noqa: ARG001
    scores: Tensor,
    iou_threshold: float,  # noqa: ARG001
    floor: float,  # noqa: ARG001
    width: int,  # noqa: ARG001
    is_sorted: bool,  # noqa: ARG001
    rounds: int,  # noqa: ARG001
) -> Tensor:
    return torch.empty_like(scores)


def matrix_width(entries: int, rows: int, budget: int) -> int:
    """How many entries of each row to compare, so that all matrices of an image fit `budget`.

    Args:
        entries: P, of a row.
        rows: of one image.
        budget: largest sum of width * width over these rows.

    Returns:
        P if it fits, else a multiple of 8.
    """
    fitting = int((budget / rows) ** 0.5) // 8 * 8
    return entries if entries * entries * rows <= budget else min(entries, max(8, fitting))
