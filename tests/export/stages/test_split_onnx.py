"""The sessions of single stages are those of the artifact."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch

from pedseg_export.stages import split_onnx

STAGE = ir.from_proto(
    onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> agraph (float[N] x) => (float[N] y) {y = Abs(x)}'
    )
)


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", "0"), ("fp16", "1")])
def test_stages_of_half_precision_keep_their_tensor_cores(
    monkeypatch: pytest.MonkeyPatch, precision: str, tf32: str
) -> None:
    asked: list[Any] = []

    def create(_content: bytes, _options: Any, *, providers: Any) -> Any:
        asked.extend(providers)
        return SimpleNamespace(get_providers=lambda: [split_onnx.CUDA])

    monkeypatch.setattr(split_onnx.ort, "InferenceSession", create)
    monkeypatch.setattr(split_onnx.ort, "preload_dlls", lambda: None)
    split_onnx._open_session(Path("small.onnx"), STAGE, torch.device("cuda:1"), precision)
    provider, options = asked[0]
    assert provider == split_onnx.CUDA
    assert options["device_id"] == "1"
    assert options["use_tf32"] == tf32


def test_values_of_a_lower_precision_enter_and_leave_an_onnx_stage_as_float32() -> None:
    """numpy has no bfloat16, and eager's values are float32."""
    images = ir.Value(name="images", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    lower = ir.node("Cast", [images], {"to": ir.DataType.FLOAT16})
    doubled = ir.node("Add", [lower.outputs[0], lower.outputs[0]])
    for node, name in ((lower, "first"), (doubled, "second")):
        node.outputs[0].name = name
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    graph = ir.Graph(
        [images], doubled.outputs, nodes=[lower, doubled], opset_imports={"": 18}, name="g"
    )
    first, second = split_onnx.split_model(
        Path("a"), ir.Model(graph, ir_version=10), [("first",), ("second",)]
    )
    assert [value.dtype for value in first.graph.outputs] == [ir.DataType.FLOAT]
    assert [value.name for value in second.graph.inputs] == ["first"]
    assert [value.dtype for value in second.graph.inputs] == [ir.DataType.FLOAT]
    narrowed, _, widened = second.graph
    assert narrowed.attributes["to"].as_int() == ir.DataType.FLOAT16
    assert widened.attributes["to"].as_int() == ir.DataType.FLOAT
