"""The formats an artifact can have: each converts the inference graph into a `Draft`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import onnx, pt2, torchscript
from .draft import Draft
from .tracing import Shape

__all__ = ["FORMATS", "Draft", "Format", "Shape"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A way to write an artifact.

    Attributes:
        suffix: of its files.
        convert: turns the inference graph into a draft; `static_shape` fixes N, H and W.
        precisions: that it can have.
        can_be_static: whether shapes can be fixed in it.
    """

    suffix: str
    convert: Callable[..., Draft]
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16")
    can_be_static: bool = True


FORMATS = {
    # onnxruntime 1.31 has no bfloat16 Conv on the CPU and no bfloat16 MaxPool on CUDA.
    "onnx": Format(suffix=".onnx", convert=onnx.convert, precisions=("fp32", "fp16", "int8")),
    "torchscript": Format(suffix=".torchscript", convert=torchscript.convert, can_be_static=False),
    "pt2": Format(suffix=".pt2", convert=pt2.convert),
}
