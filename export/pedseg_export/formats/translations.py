"""ONNX translations of operators that torch cannot translate, or translates inefficiently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnx.defs import OpSchema
from onnxscript import opset18 as op
from onnxscript.values import Op, Opset

from ..graph import pyramid, suppression, taps  # noqa: F401  register pedseg's operators

INTERMEDIATE_DOMAIN = "pedseg.intermediates"
INTERMEDIATE_TYPES = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(int64)"]
MARK_INTERMEDIATE = OpSchema(
    "MarkIntermediate",
    INTERMEDIATE_DOMAIN,
    1,
    inputs=[OpSchema.FormalParameter("value", "T")],
    outputs=[OpSchema.FormalParameter("same", "T")],
    type_constraints=[("T", INTERMEDIATE_TYPES, "")],
    attributes=[OpSchema.Attribute("name", OpSchema.AttrType.STRING, "name of the value")],
)

Translation = Callable[..., Any]


def translations() -> dict[Any, Translation]:
    """The `custom_translation_table` for `torch.onnx.export`."""
    return {
        torch.ops.pedseg.suppress.default: translate_nms,
        torch.ops.pedseg.align.default: translate_roi_align,
        torch.ops.pedseg.mark_intermediate.default: translate_mark,
        torch.ops.aten.div.Tensor_mode: translate_integer_division,
        torch.ops.aten.div.Scalar_mode: translate_integer_division,
    }


def translate_nms(boxes: Any, scores: Any, iou_threshold: float, floor: float) -> Any:
    """NMS per row; the scores of selected boxes are scattered over -1."""
    rows = op.Unsqueeze(scores, [1])  # [B, 1, P]: ONNX expects a class axis
    selected = op.NonMaxSuppression(
        boxes,
        rows,
        op.Constant(value_ints=[torch.iinfo(torch.int32).max]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[floor]),
    )  # [S, 3]: row, class, entry
    suppressed = op.Expand(op.Constant(value_float=-1.0), op.Shape(rows))
    return op.Squeeze(op.ScatterND(suppressed, selected, op.GatherND(rows, selected)), [1])


def translate_roi_align(
    features: Any,
    boxes: Any,
    image_index: Any,
    scale: float,
    size: Sequence[int],
    sampling_ratio: int,
) -> Any:
    """RoIAlign of opset 16, where output_half_pixel is torchvision's aligned=False."""
    return op.RoiAlign(
        features,
        boxes,
        image_index,
        coordinate_transformation_mode="output_half_pixel",
        mode="avg",
        output_height=size[0],
        output_width=size[1],
        sampling_ratio=sampling_ratio,
        spatial_scale=scale,
    )


def translate_mark(value: Any, name: str) -> Any:
    """A node that only carries a name; `formats.onnx` removes it."""
    return Op(Opset(INTERMEDIATE_DOMAIN, 1), "MarkIntermediate", MARK_INTERMEDIATE)(
        value, name=name
    )


def translate_integer_division(
    dividend: Any, divisor: Any, rounding_mode: str | None = None
) -> Any:
    """Integer division of sizes and indices, none of them negative: ONNX Div on integers.

    torch's own translation divides in float32, which is exact only up to 2**24.
    """
    if not dividend.dtype.is_integer() or rounding_mode is None:
        raise TypeError(f"expected an integer division, found {dividend.dtype} / {rounding_mode}")
    if not hasattr(divisor, "dtype"):
        divisor = op.Constant(value_int=int(divisor))
    return op.Div(dividend, divisor)
