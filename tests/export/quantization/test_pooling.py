"""Where a stem is pooled before its integers begin, onnxruntime must not pool the integers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pedseg_export.quantization.int8 import pool_in_float

WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def stem(*more: onnx.NodeProto, outputs: Sequence[str] = ("out",)) -> onnx.ModelProto:
    """Convolution, activation, pooling, and a convolution of eight bits, with whatever else."""
    random = np.random.default_rng(1)
    constants = {
        "first": random.normal(size=(16, 3, 3, 3)).astype(np.float32),
        "scale": np.array(0.04, np.float32),
        "zero": np.array(0, np.uint8),
        "second": random.integers(-9, 9, (16, 16, 1, 1)).astype(np.int8),
        "second_scale": np.array(0.1, np.float32),
        "second_zero": np.array(0, np.int8),
    }
    nodes = [
        helper.make_node("Conv", ["images", "first"], ["convolved"], pads=[1] * 4),
        helper.make_node("Relu", ["convolved"], ["active"]),
        helper.make_node("MaxPool", ["active"], ["pooled"], **WINDOW),
        helper.make_node("QuantizeLinear", ["pooled", "scale", "zero"], ["integers"]),
        helper.make_node("DequantizeLinear", ["integers", "scale", "zero"], ["values"]),
        helper.make_node(
            "DequantizeLinear", ["second", "second_scale", "second_zero"], ["weights"]
        ),
        helper.make_node("Conv", ["values", "weights"], ["convolved_again"]),
        helper.make_node("QuantizeLinear", ["convolved_again", "scale", "zero"], ["last"]),
        helper.make_node("DequantizeLinear", ["last", "scale", "zero"], ["out"]),
        *more,
    ]
    graph = helper.make_graph(
        nodes,
        "stem",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [*"nchw"]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, fused: Path) -> tuple[np.ndarray, bool]:
    """The answer, and whether onnxruntime pools integers for it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(fused)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(2).normal(size=(1, 3, 32, 32)).astype(np.float32)
    (answer,) = session.run(["out"], {"images": pixels})
    nodes = onnx.load(fused).graph.node
    made = {value: node.op_type for node in nodes for value in node.output}
    (pool,) = [node for node in nodes if node.op_type == "MaxPool"]
    return answer, made[pool.input[0]] == "QuantizeLinear"


def test_floats_are_pooled_and_no_bit_changes(tmp_path):
    before = onnx.shape_inference.infer_shapes(stem())
    after = onnx.ModelProto()
    after.CopyFrom(before)
    pool_in_float(after)
    onnx.checker.check_model(after, full_check=True)
    assert "active" not in {info.name for info in after.graph.value_info}
    expected, integers = run(before, tmp_path / "before.onnx")
    found, still = run(after, tmp_path / "after.onnx")
    assert integers, "without it onnxruntime pools integers; where it no longer does, drop all this"
    assert not still
    assert np.unique(expected).size > 20
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("more", "outputs"),
    [
        (helper.make_node("Exp", ["pooled"], ["other"]), ("out", "other")),
        (helper.make_node("Exp", ["active"], ["other"]), ("out", "other")),
        (helper.make_node("Exp", ["convolved"], ["other"]), ("out", "other", "active")),
        (helper.make_node("Exp", ["convolved"], ["other"]), ("out", "other", "pooled")),
    ],
    ids=["the pooled values", "the activations", "the answer active", "the answer pooled"],
)
def test_what_others_read_stays_as_it_is(more, outputs):
    model = stem(more, outputs=outputs)
    before = model.SerializeToString()
    pool_in_float(model)
    assert model.SerializeToString() == before
