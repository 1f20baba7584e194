"""ONNX graphs of some nodes, as bytes, for the facts about a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 256  # of the feature pyramid
OPSET = 18
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Values = Mapping[str, tuple[int, Sequence[int | str]]]  # name -> type and shape


def convolution(dtype: str) -> bytes:
    """One 3x3 convolution of x [N, 256, H, W] in float16 or float32."""
    kind = TensorProto.FLOAT16 if dtype == "float16" else FLOAT
    weight = _weight(CHANNELS, CHANNELS, 3, 3).astype(dtype)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    image = (kind, ("n", CHANNELS, "h", "w_"))
    return _model([node], {"x": image}, {"y": image}, {"w": weight})


def stack() -> bytes:
    """Four 3x3 convolutions of x [N, 64, H, W] in float32."""
    nodes = [
        helper.make_node("Conv", [f"x{step}" if step else "x", "w"], [f"x{step + 1}"],
                         pads=[1, 1, 1, 1])
        for step in range(4)
    ]  # fmt: skip
    image = (FLOAT, ("n", 64, "h", "w_"))
    return _model(nodes, {"x": image}, {"x4": image}, {"w": _weight(64, 64, 3, 3)})


def top_k() -> bytes:
    """The k largest of x [1, C], sorted, and their indices."""
    node = helper.make_node("TopK", ["x", "k"], ["values", "indices"], axis=1)
    return _model(
        [node],
        {"x": (FLOAT, (1, "c")), "k": (INT64, (1,))},
        {"values": (FLOAT, (1, "k_")), "indices": (INT64, (1, "k_"))},
        {},
    )


def suppression() -> bytes:
    """NMS of boxes [1, B, 4] with scores [1, 1, B] at an overlap of 0.7, 1000 at most."""
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["y"])
    constants = {"most": np.array([1000]), "overlap": np.array([0.7], np.float32)}
    inputs: Values = {"boxes": (FLOAT, (1, "b", 4)), "scores": (FLOAT, (1, 1, "b"))}
    return _model([node], inputs, {"y": (INT64, ("kept", 3))}, constants)


def empty_cases() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Name -> a graph and inputs of which one has no rows."""
    none = np.zeros
    cases: dict[str, tuple[bytes, dict[str, Any]]] = {
        "Conv": (stack(), {"x": none((0, 64, 14, 14), np.float32)}),
        "TopK of 0": (top_k(), {"x": none((1, 5), np.float32), "k": np.array([0])}),
        "TopK of nothing": (top_k(), {"x": none((1, 0), np.float32), "k": np.array([0])}),
        "NonMaxSuppression": (
            suppression(),
            {"boxes": none((1, 0, 4), np.float32), "scores": none((1, 1, 0), np.float32)},
        ),
    }
    cases["Gemm"] = (
        _model(
            [helper.make_node("Gemm", ["x", "w"], ["y"])],
            {"x": (FLOAT, ("n", 64))},
            {"y": (FLOAT, ("n", 32))},
            {"w": _weight(64, 32)},
        ),
        {"x": none((0, 64), np.float32)},
    )
    cases["ConvTranspose"] = (
        _model(
            [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])],
            {"x": (FLOAT, ("n", 64, 14, 14))},
            {"y": (FLOAT, ("n", 32, 28, 28))},
            {"w": _weight(64, 32, 2, 2)},
        ),
        {"x": none((0, 64, 14, 14), np.float32)},
    )
    cases["RoiAlign"] = (
        _model(
            [
                helper.make_node(
                    "RoiAlign", ["x", "rois", "at"], ["y"], output_height=7, output_width=7
                )
            ],
            {"x": (FLOAT, (1, 8, 20, 20)), "rois": (FLOAT, ("n", 4)), "at": (INT64, ("n",))},
            {"y": (FLOAT, ("n", 8, 7, 7))},
            {},
        ),
        {
            "x": none((1, 8, 20, 20), np.float32),
            "rois": none((0, 4), np.float32),
            "at": none((0,), np.int64),
        },
    )
    return cases


def _weight(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape, np.float32) / 50


def _model(
    nodes: Sequence[onnx.NodeProto], inputs: Values, outputs: Values, constants: Mapping[str, Any]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, *value) for name, value in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    # The version of the format that the oldest supported onnxruntime reads.
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    data: bytes = model.SerializeToString()
    return data
