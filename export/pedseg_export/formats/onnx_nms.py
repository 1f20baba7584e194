"""ONNX of `pedseg::suppress_batched`: see `graph.batched_nms` for the formulation and its proof."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import opset18 as op

NO_SCORE = -1.0  # of entries that take no part, and in the answer of those that are suppressed
FLOAT = int(ir.DataType.FLOAT)
ALL_BOXES = torch.iinfo(torch.int32).max


def translate_batched_nms(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    floor: float,
    width: int,
    is_sorted: bool,
    rounds: int,
) -> Any:
    """Batched NMS of boxes [B, P, 4] and scores [B, P]: scores of survivors, -1 elsewhere."""
    entries = int(scores.shape[1])
    threshold = float32_below(iou_threshold)
    takes_part = op.Greater(scores, _float(floor))
    best = op.Where(takes_part, scores, _float(NO_SCORE))
    compared, index = boxes, None
    if width < entries:
        best, index = op.TopK(best, _ints([width]), axis=1)
        place = op.Expand(op.Unsqueeze(index, _ints([2])), _ints([1, 1, 4]))
        compared = op.GatherElements(boxes, place, axis=1)
        takes_part = op.Greater(best, _float(NO_SCORE))
    if is_sorted:
        suppresses = suppression_in_order(overlap(compared), takes_part, threshold)
    else:
        overlaps = op.Greater(overlap(compared), _float(threshold))
        before = precedence(best, takes_part, index, width)
        suppresses = op.Cast(op.And(overlaps, before), to=FLOAT)
    kept, unsettled = fixed_point(suppresses, rounds)
    survives = op.Greater(op.Squeeze(kept, _ints([1, 2])), _float(0.5))
    answer = op.Where(survives, best, _float(NO_SCORE))  # [B, width]
    if width < entries:
        nothing = op.Expand(_float(NO_SCORE), op.Shape(scores))
        answer = op.ScatterElements(nothing, index, answer, axis=1)
        last = op.Gather(takes_part, op.Constant(value_int=width - 1), axis=1)  # [B]
        unsettled = op.Add(unsettled, op.Cast(last, to=FLOAT))
    return answer_serially(answer, unsettled, boxes, scores, threshold, floor)


def overlap(boxes: Any) -> Any:
    """IoU [B, 1, W, W] of boxes [B, W, 4], rounded as in torchvision's `nms`."""
    columns = op.Unsqueeze(op.Transpose(boxes, perm=[0, 2, 1]), _ints([2]))  # [B, 4, 1, W]
    rows = op.Transpose(columns, perm=[0, 1, 3, 2])  # [B, 4, W, 1]
    left, right = op.Split(rows, num_outputs=2, axis=1)  # x1 y1 and x2 y2
    top, bottom = op.Split(columns, num_outputs=2, axis=1)
    extent = op.Relu(op.Sub(op.Min(right, bottom), op.Max(left, top)))  # [B, 2, W, W]
    common = product_of_pair(extent)  # [B, 1, W, W]
    area = product_of_pair(op.Sub(right, left))  # [B, 1, W, 1]
    union = op.Sub(op.Add(area, op.Transpose(area, perm=[0, 1, 3, 2])), common)
    return op.Div(common, union)  # NaN of two empty boxes, which is no overlap


def product_of_pair(pair: Any) -> Any:
    """Product [B, 1, ...] of the two entries of axis 1."""
    first, second = op.Split(pair, num_outputs=2, axis=1)
    return op.Mul(first, second)


def suppression_in_order(overlaps: Any, takes_part: Any, threshold: float) -> Any:
    """Float [B, 1, W, W]: 1 where i suppresses j if kept, in rows that stand by falling score.

    What takes no part suppresses nothing: no overlap is above 2.
    """
    limit = op.Where(takes_part, _float(threshold), _float(2.0))
    above = op.Greater(overlaps, op.Unsqueeze(limit, _ints([1, 3])))
    return op.Trilu(op.Cast(above, to=FLOAT), op.Constant(value_int=1), upper=1)


def precedence(scores: Any, takes_part: Any, index: Any | None, width: int) -> Any:
    """Bool [B, 1, W, W]: whether i is treated before j, by falling score and then by index.

    Nothing is presumed of the order of a row: TopK leaves equal scores in any order on CUDA.
    What takes no part precedes nothing.

    Args:
        scores: [B, W].
        takes_part: bool [B, W].
        index: of the entries, [B, W]; None for 0, 1, ...
        width: W.
    """
    if index is None:
        index = op.Unsqueeze(op.Constant(value_ints=list(range(width))), _ints([0]))
    columns = op.Unsqueeze(scores, _ints([1, 2]))
    rows = op.Unsqueeze(op.Where(takes_part, scores, _float(NO_SCORE - 1)), _ints([1, 3]))
    earlier = op.Less(op.Unsqueeze(index, _ints([1, 3])), op.Unsqueeze(index, _ints([1, 2])))
    ties = op.And(op.GreaterOrEqual(rows, columns), earlier)
    return op.Or(op.Greater(rows, columns), ties)


def fixed_point(suppresses: Any, rounds: int) -> tuple[Any, Any]:
    """`rounds` rounds over float matrices [B, 1, W, W] of zeros and ones.

    A sum of zeros and ones is 0 only if all are, in whatever precision a device adds them.

    Returns:
        1 where a box survives, float [B, 1, 1, W]; a number [B] above 0 where it is not settled.
    """
    before = kept = _suppressed_by_none(op.ReduceSum(suppresses, _ints([2]), keepdims=1))
    for _ in range(rounds - 1):
        before, kept = kept, _suppressed_by_none(op.MatMul(kept, suppresses))
    return kept, op.ReduceSum(op.Sub(kept, before), _ints([1, 2, 3]), keepdims=0)


def _suppressed_by_none(count: Any) -> Any:
    """1 where a count is 0, else 0: max(0, min(1, 1 - count)) as one operator."""
    return op.HardSigmoid(count, alpha=-1.0, beta=1.0)


def answer_serially(
    answer: Any, unsettled: Any, boxes: Any, scores: Any, threshold: float, floor: float
) -> Any:
    """`answer` [B, P] with the rows where `unsettled` [B] by NonMaxSuppression: usually none.

    NonZero makes their number a shape, so that no device copies a condition to the CPU. What is
    empty then goes only through operators that do nothing for it: onnxruntime's GatherND on CUDA
    would launch a kernel without blocks.
    """
    row = op.Squeeze(op.NonZero(unsettled), _ints([0]))  # [U]
    selected = op.NonMaxSuppression(
        op.Gather(boxes, row),
        op.Unsqueeze(op.Gather(scores, row), _ints([1])),
        op.Constant(value_ints=[ALL_BOXES]),
        op.Constant(value_floats=[threshold]),
        op.Constant(value_floats=[floor]),
    )  # [S, 3]: position in `row`, class, entry
    position, entry = (op.Gather(selected, op.Constant(value_int=i), axis=1) for i in (0, 2))
    first = op.Mul(op.Gather(row, position), op.Constant(value_int=int(scores.shape[1])))
    place = op.Add(first, entry)  # [S], in all rows one after the other
    kept = op.Gather(op.Reshape(scores, _ints([-1])), place)
    is_settled = op.Unsqueeze(op.LessOrEqual(unsettled, _float(0.0)), _ints([1]))
    settled = op.Reshape(op.Where(is_settled, answer, _float(NO_SCORE)), _ints([-1]))
    merged = op.ScatterND(settled, op.Unsqueeze(place, _ints([1])), kept)
    return op.Reshape(merged, _ints([-1, int(scores.shape[1])]))


def translate_nms(boxes: Any, scores: Any, iou_threshold: float, floor: float) -> Any:
    """NMS per row by ONNX; the scores of selected boxes are scattered over -1."""
    rows = op.Unsqueeze(scores, [1])  # [B, 1, P]: ONNX expects a class axis
    selected = op.NonMaxSuppression(
        boxes,
        rows,
        op.Constant(value_ints=[ALL_BOXES]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[floor]),
    )  # [S, 3]: row, class, entry
    suppressed = op.Expand(op.Constant(value_float=-1.0), op.Shape(rows))
    return op.Squeeze(op.ScatterND(suppressed, selected, op.GatherND(rows, selected)), [1])


def float32_below(value: float) -> float:
    """The largest float32 that is at most `value`: torchvision compares in double precision."""
    rounded = np.float32(value)
    return float(rounded if float(rounded) <= value else np.nextafter(rounded, np.float32(-1)))


def _float(value: float) -> Any:
    return op.Constant(value_float=value)


def _ints(values: list[int]) -> Any:
    return op.Constant(value_ints=values)
