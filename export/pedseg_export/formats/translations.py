"""ONNX for the operators that torch cannot translate, or translates wastefully."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnx.defs import OpSchema
from onnxscript import opset18 as op
from onnxscript.values import Op, Opset

from ..graph import pyramid, suppression, taps  # noqa: F401  they register pedseg's operators

TAP_DOMAIN = "pedseg.taps"
TAPPED = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(int64)"]
TAP = OpSchema(
    "Tap",
    TAP_DOMAIN,
    1,
    inputs=[OpSchema.FormalParameter("value", "T")],
    outputs=[OpSchema.FormalParameter("same", "T")],
    type_constraints=[("T", TAPPED, "")],
    attributes=[OpSchema.Attribute("name", OpSchema.AttrType.STRING, "what to call the value")],
)

Translation = Callable[..., Any]


def translations() -> dict[Any, Translation]:
    """The `custom_translation_table` for `torch.onnx.export`."""
    return {
        torch.ops.pedseg.suppress.default: suppress,
        torch.ops.pedseg.align.default: align,
        torch.ops.pedseg.tap.default: tap,
        torch.ops.aten.div.Tensor_mode: divide,
        torch.ops.aten.div.Scalar_mode: divide,
    }


def suppress(boxes: Any, scores: Any, iou_threshold: float, floor: float) -> Any:
    """NMS over rows, then the scores of what it selected scattered over -1."""
    rows = op.Unsqueeze(scores, [1])  # [B, 1, P]: ONNX wants a class axis
    selected = op.NonMaxSuppression(
        boxes,
        rows,
        op.Constant(value_ints=[torch.iinfo(torch.int32).max]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[floor]),
    )  # [S, 3]: row, class, entry
    nothing = op.Expand(op.Constant(value_float=-1.0), op.Shape(rows))
    return op.Squeeze(op.ScatterND(nothing, selected, op.GatherND(rows, selected)), [1])


def align(
    features: Any,
    boxes: Any,
    image_index: Any,
    scale: float,
    size: Sequence[int],
    sampling_ratio: int,
) -> Any:
    """RoIAlign as of opset 16; its name for torchvision's aligned=False is output_half_pixel."""
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


def tap(value: Any, name: str) -> Any:
    """A node that only carries a name; the format takes it out again."""
    return Op(Opset(TAP_DOMAIN, 1), "Tap", TAP)(value, name=name)


def divide(dividend: Any, divisor: Any, rounding_mode: str | None = None) -> Any:
    """Integer division of sizes and indices, none of them negative: ONNX Div on integers.

    torch's own translation goes through float32, which is exact up to 2**24 only.
    """
    if not dividend.dtype.is_integer() or rounding_mode is None:
        raise TypeError(f"expected an integer division, found {dividend.dtype} / {rounding_mode}")
    if not hasattr(divisor, "dtype"):
        divisor = op.Constant(value_int=int(divisor))
    return op.Div(dividend, divisor)
