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
