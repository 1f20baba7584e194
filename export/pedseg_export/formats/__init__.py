"""The formats an artifact can have: each converts the inference graph into a `Draft`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..graph import InferenceGraph
from . import onnx, torchscript
from .draft import Draft

__all__ = ["FORMATS", "Draft", "Format"]


@dataclass(frozen=True)
class Format:
    """A way to write an artifact.

    Attributes:
        suffix: of its files.
        convert: turns the inference graph into a draft.
    """

    suffix: str
    convert: Callable[[InferenceGraph], Draft]


FORMATS = {
    "onnx": Format(".onnx", onnx.convert),
    "torchscript": Format(".torchscript", torchscript.convert),
}
