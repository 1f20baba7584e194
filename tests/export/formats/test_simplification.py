"""Every rule for fewer nodes changes none of the numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pedseg_export.formats.onnx_rewrites import simplify

pytestmark = pytest.mark.slow


def graph_of(nodes: list, shape: list, output: int, **constants: list[int]) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()]
    graph = helper.make_graph(
        nodes,
        "rule",
        [helper.make_tensor_value_info("x", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [None] * output)],
        initializer=initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def node(operator: str, *values: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, list(values[:-1]), [values[-1]], **attributes)


CASES = {
    "a squeezed size comes back": (
        graph_of(
            [
                node("Shape", "x", "s", start=0, end=1),
                node("Squeeze", "s", "scalar"),
                node("Unsqueeze", "scalar", "zero", "v"),
                node("Neg", "v", "y"),
            ],
            ["s0", 3],
            1,
            zero=[0],
        ),
        {"Squeeze", "Unsqueeze"},
    ),
    "a vector is reshaped to a vector": (
        graph_of(
            [node("Abs", "x", "a"), node("Reshape", "a", "flat", "v"), node("Neg", "v", "y")],
            ["s0"],
            1,
            flat=[-1],
        ),
        {"Reshape"},
    ),
    "a gathered scalar becomes a vector": (
        graph_of(
            [
                node("Gather", "x", "one", "scalar", axis=0),
                node("Reshape", "scalar", "flat", "v"),
                node("Neg", "v", "y"),
            ],
            [4],
            1,
            one=1,
            flat=[-1],
        ),
        {"Reshape"},
    ),
    "the only row of an index": (
        graph_of(
            [
                node("NonZero", "x", "found"),
                node("Transpose", "found", "t", perm=[1, 0]),
                node("Squeeze", "t", "one", "v"),
                node("Neg", "v", "y"),
            ],
            ["s0"],
            1,
            one=[1],
        ),
        {"Transpose"},
    ),
    "a product of scalars becomes a vector": (
        graph_of(
            [
                node("Gather", "x", "one", "first", axis=0),
                node("Gather", "x", "two", "second", axis=0),
                node("Mul", "first", "second", "scalar"),
                node("Reshape", "scalar", "flat", "v"),
                node("Neg", "v", "y"),
            ],
            [4],
            1,
            one=1,
            two=2,
            flat=[-1],
        ),
        {"Reshape"},
    ),
    "the only entry of a vector": (
        graph_of(
            [
                node("ReduceSum", "x", "sum", keepdims=1),
                node("Gather", "sum", "first", "v", axis=0),
                node("Neg", "v", "y"),
            ],
            [4],
            1,
            first=[0],
        ),
        {"Gather"},
    ),
    "parts of a vector are joined again": (
        graph_of(
            [
                node("Abs", "x", "a"),
                helper.make_node("Split", ["a", "sizes"], ["left", "right"]),
                node("Concat", "left", "right", "v", axis=0),
                node("Neg", "v", "y"),
            ],
            [4],
            1,
            sizes=[1, 3],
        ),
        {"Concat", "Split"},
    ),
    "two reshapes in a row": (
        graph_of(
            [
                node("Reshape", "x", "first", "a"),
                node("Unsqueeze", "a", "one", "b"),
                node("Neg", "b", "y"),
            ],
            [4, 3],
            3,
            first=[2, 6],
            one=[1],
        ),
        {"Unsqueeze"},
    ),
}


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": x})
    return found


@pytest.mark.parametrize(("model", "gone"), CASES.values(), ids=CASES)
def test_a_rule_saves_its_nodes_and_no_number_changes(
    model: onnx.ModelProto, gone: set[str]
) -> None:
    shape = [dim.dim_value or 4 for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).integers(0, 3, shape)
    simplified = ir.from_proto(model)
    simplify(simplified)
    after = ir.to_proto(simplified)
    left = Counter(item.op_type for item in after.graph.node)
    assert not gone & set(left), left
    assert len(after.graph.node) < len(model.graph.node)
    np.testing.assert_array_equal(run(after, x), run(model, x))


def test_a_size_of_the_data_is_not_copied_but_inferred() -> None:
    """Of no rows, nothing could be inferred from the other sizes: only the batch is copied."""
    model = graph_of(
        [
            node("NonZero", "x", "found"),
            node("Transpose", "found", "rows", perm=[1, 0]),
            node("Shape", "rows", "count", start=0, end=1),
            node("Concat", "count", "two", "target", axis=0),
            node("Reshape", "rows", "target", "v"),
            node("Neg", "v", "y"),
        ],
        ["s0", 3],
        2,
        two=[2],
    )
    simplified = ir.from_proto(model)
    simplify(simplified)
    empty = np.zeros((4, 3), np.int64)
    assert run(ir.to_proto(simplified), empty).shape == run(model, empty).shape == (0, 2)


def test_what_is_to_be_kept_keeps_its_name() -> None:
    model = ir.from_proto(CASES["two reshapes in a row"][0])
    kept = next(value for item in model.graph for value in item.outputs if value.name == "a")
    simplify(model, keep=[kept])
    assert any(value.name == "a" for item in model.graph for value in item.outputs)
    assert [value.name for value in model.graph.outputs] == ["y"]
