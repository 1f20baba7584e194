"""A graph that crashes onnxruntime is detected in a child process."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pedseg_export.quantization import smoke_test
from pedseg_export.quantization.smoke_test import run_smoke_test
from pedseg_runtime.errors import ExportError

pytestmark = pytest.mark.slow


def layer_on_rows(kind: str) -> onnx.ModelProto:
    """A layer between QDQ pairs on as many black rows as `images` has bright pixels."""
    rng = np.random.default_rng(0)
    shape = (8, 4, 3, 3) if kind == "Conv" else (8, 36)
    constants = {
        "scale": np.float32(0.1),
        "zero": np.uint8(3),
        "weights": rng.integers(-9, 9, shape).astype(np.int8),
        "scales": np.full(8, 0.1, np.float32),
        "zeros": np.zeros(8, np.int8),
        "bias": rng.random(8, np.float32),
        "row": np.array([-1, 4, 3, 3] if kind == "Conv" else [-1, 36]),
        "thirty-six": np.array([1, 36]),
    }
    nodes = [
        helper.make_node("NonZero", ["images"], ["bright"]),
        helper.make_node("Transpose", ["bright"], ["places"]),
        helper.make_node("Cast", ["places"], ["coordinates"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["coordinates"], ["one"], axes=[1], keepdims=1),
        helper.make_node("Tile", ["one", "thirty-six"], ["flat"]),
        helper.make_node("Reshape", ["flat", "row"], ["rows"]),
        helper.make_node("QuantizeLinear", ["rows", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["w"], axis=0),
        helper.make_node(
            kind, ["x", "w", "bias"], ["y"], **({} if kind == "Conv" else {"transB": 1})
        ),
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "scale", "zero"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_int8_layers_run_without_rows(kind, tmp_path):
    """A precondition of int8 heads: a black image has no bright pixel, hence no row."""
    onnx.save(layer_on_rows(kind), tmp_path / "layer.onnx")

    run_smoke_test(tmp_path / "layer.onnx")


CRASHES = {
    "segfault": f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})",
    "exit": "import sys; sys.exit('no such kernel')",
    "silence": "import os; os._exit(3)",
    "sleep": "import time; time.sleep(60)",
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals that end a process")
@pytest.mark.parametrize(
    ("crash", "message"),
    [
        ("segfault", r"crashes \(SIGSEGV\)"),
        ("exit", r"fails \(no such kernel\)"),
        ("silence", "ends with 3"),
        ("sleep", "does not end within 1 s"),
    ],
)
def test_a_crash_of_onnxruntime_becomes_a_message(crash, message, monkeypatch, tmp_path):
    command = [sys.executable, "-c", CRASHES[crash]]
    monkeypatch.setattr(smoke_test, "_command", lambda path: command)

    with pytest.raises(ExportError, match=f"images without detections, found that it {message}"):
        run_smoke_test(tmp_path / "small.onnx", seconds=1.0 if crash == "sleep" else 60.0)


def test_a_file_that_onnxruntime_does_not_load_fails(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")

    with pytest.raises(ExportError, match="fails"):
        run_smoke_test(tmp_path / "broken.onnx")
