"""What has to change in a graph before OpenVINO computes what onnxruntime does.

1. OpenVINO's devices have no float64 and silently take float32. The graph computes in float64 the
   size that an image is resized to; in float32 up to 45 % of image sizes get one that is a pixel
   off, and other detections with it. So that size becomes an input; nothing else may be left in
   float64.
2. TopK leaves the order of equal values open. ONNX takes the lower index, and on even surfaces
   many scores are equal.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

SIZE_NAME = "resized_size"  # int64 [2], height and width


def take_size_as_input(model: Any) -> bool:
    """Replace the float64 arithmetic of `model` by an input `SIZE_NAME`, if there is any.

    Returns:
        Whether the model has that input now.

    Raises:
        ValueError: other values are computed in float64, too.
    """
    ends = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convert" and _is_double(node.input(0)) and not _doubles(node)
    ]
    if len(ends) == 1:
        (result,) = ends[0].outputs()
        if result.get_element_type().to_string() == "i64" and _shape(result) == "[2]":
            size = _operators().parameter([2], np.int64, name=SIZE_NAME)
            size.output(0).set_names({SIZE_NAME})
            _replace(result, size.output(0))
            model.add_parameters([size])
            model.validate_nodes_and_infer_types()
    left = [node.get_friendly_name() for node in model.get_ordered_ops() if _doubles(node)]
    if left:
        raise ValueError(f"{len(left)} nodes compute in float64, the first is {left[0]}")
    return any(SIZE_NAME in port.get_names() for port in model.inputs)


def make_order_stable(model: Any) -> None:
    """Let every TopK of `model` return the lower index of equal values first."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "TopK" or node.get_attributes().get("stable"):
            continue
        chosen = node.get_attributes()
        stable = _operators().topk(
            node.input_value(0),
            node.input_value(1),
            chosen["axis"],
            chosen["mode"],
            chosen["sort"],
            chosen["index_element_type"],
            stable=True,
        )
        for old, new in zip(node.outputs(), stable.outputs(), strict=True):
            new.set_names(old.get_names())
            _replace(old, new)


def _operators() -> Any:
    return importlib.import_module("openvino.opset11")


def _is_double(port: Any) -> bool:
    return bool(port.get_element_type().to_string() == "f64")


def _doubles(node: Any) -> bool:
    return any(_is_double(port) for port in node.outputs())


def _shape(port: Any) -> str:
    return str(port.get_partial_shape())


def _replace(old: Any, new: Any) -> None:
    for target in old.get_target_inputs():
        target.replace_source_output(new)
