"""The formats of artifacts: each converts the inference graph to a `Draft`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .base import Draft, Shape
from .onnx import convert_onnx
from .torch_archives import convert_pt2, convert_torchscript

__all__ = ["FORMATS", "Draft", "Format", "Shape"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of artifacts.

    Attributes:
        suffix: of its files.
        convert: converts the inference graph to a draft; `static_shape` fixes N, H and W.
        precisions: supported precisions.
        can_be_static: whether shapes can be fixed.
    """

    suffix: str
    convert: Callable[..., Draft]
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16")
    can_be_static: bool = True


FORMATS = {
    # onnxruntime 1.31 has no bfloat16 Conv on the CPU and no bfloat16 MaxPool on CUDA.
    "onnx": Format(suffix=".onnx", convert=convert_onnx, precisions=("fp32", "fp16", "int8")),
    "torchscript": Format(suffix=".torchscript", convert=convert_torchscript, can_be_static=False),
    "pt2": Format(suffix=".pt2", convert=convert_pt2),
}
