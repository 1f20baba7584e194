from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from pedseg_benchmarks.commands.profile import main
from pedseg_benchmarks.profiling import profile
from pedseg_benchmarks.profiling.profilers import read_events
from pedseg_runtime.errors import InputError
from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
from pedseg_train.models import build_model

TINY_ONNX = Path(__file__).parents[2] / "runtime" / "golden" / "tiny.onnx"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 20:50, 0] = 200
    path = tmp_path_factory.mktemp("image") / "street.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    architecture = "maskrcnn_resnet10_fpn_lite"
    model = build_model(architecture, min_size=64, max_size=96, score_threshold=0.0)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    header = CheckpointHeader.of(
        model, architecture=architecture, class_names=("background", "person")
    )
    save_checkpoint(path, model, header)
    return path


def event(name, ts, dur=1000, cat="Node", **arguments):
    shapes = {"op_name": "Conv", "provider": "CPUExecutionProvider", **arguments}
    return {"name": name, "ts": ts, "dur": dur, "cat": cat, "args": shapes}


def test_runs_of_the_warm_up_do_not_count_and_the_rest_is_averaged():
    events = [
        event("model_run", 100, cat="Session"),
        event("a_kernel_time", 110, dur=90_000),
        event("model_run", 200, cat="Session"),
        event("a_kernel_time", 210, dur=2000, output_type_shape=[{"float": [1, 8]}, {"int64": []}]),
        event("a_fence_before", 209),
        event("model_run", 300, cat="Session"),
        event("a_kernel_time", 310, dur=4000, output_type_shape=[{"float": [1, 8]}, {"int64": []}]),
        event("b_kernel_time", 320, dur=9000, op_name="Relu"),
    ]
    heavy, light = read_events(list(reversed(events)), warmup=1)
    assert (heavy.name, heavy.operator, heavy.ms, heavy.calls) == ("b", "Relu", 4.5, 0.5)
    assert (light.name, light.ms, light.calls, light.provider) == ("a", 3.0, 1, "CPU")
    assert light.shape in ("float 1x8, int64", "")
    assert heavy.share == pytest.approx(0.6)


def test_an_artifact_is_profiled_node_by_node_and_its_trace_is_kept(image, tmp_path):
    found = profile(TINY_ONNX, image=image, output=tmp_path / "new", threads=1, runs=2)
    assert found.provider == "CPUExecutionProvider"
    assert found.detections == 1
    assert found.nodes_ms <= found.wall_ms
    assert sum(node.share for node in found.nodes) == pytest.approx(1)
    assert sum(total.ms for total in found.operators) == pytest.approx(found.nodes_ms)
    assert [node.ms for node in found.nodes] == sorted((n.ms for n in found.nodes), reverse=True)
    assert {node.provider for node in found.nodes} == {"CPU"}
    assert {node.calls for node in found.nodes} == {1}
    (trace,) = (tmp_path / "new").iterdir()
    assert trace.name == found.trace
    assert any(event["name"] == "model_run" for event in json.loads(trace.read_text()))


@pytest.mark.slow
def test_a_checkpoint_is_profiled_operator_by_operator(checkpoint, image, tmp_path):
    found = profile(checkpoint, image=image, output=tmp_path, threads=1, warmup=1, runs=1)
    assert found.provider == "torch:cpu"
    assert found.shape_of == "inputs"
    convolutions = [node for node in found.nodes if "conv" in node.operator]
    assert any(node.shape.startswith("1x3x64x96, ") for node in convolutions)
    assert "traceEvents" in json.loads((tmp_path / found.trace).read_text())


@pytest.mark.gpu("torch")
def test_a_gpus_own_time_is_what_counts(checkpoint, image, tmp_path):
    found = profile(checkpoint, image=image, output=tmp_path, device="cuda", runs=2)
    assert found.provider.startswith("torch:cuda")
    assert found.nodes_ms > 0
    assert "GPU" in found.note


@pytest.mark.gpu
def test_launch_times_of_a_gpu_are_not_sold_as_its_work(image, tmp_path):
    found = profile(TINY_ONNX, image=image, output=tmp_path, device="cuda", runs=2)
    assert "launching" in found.note
    assert "CUDA" in {node.provider for node in found.nodes}


@pytest.fixture
def run(image, tmp_path):
    def run(*arguments):
        options = ["--image", image, "--output", tmp_path / "traces", "--runs", 2, "--threads", 1]
        return CliRunner().invoke(main, [str(part) for part in (*arguments, *options)])

    return run


def test_the_command_lists_nodes_totals_and_where_the_trace_is(run, tmp_path):
    outcome = run(TINY_ONNX, "--top", 3)
    assert outcome.exit_code == 0, outcome.output
    assert "The 3 most expensive of" in outcome.stdout
    assert "By operator" in outcome.stdout
    assert "40x60 image with 1 detections" in outcome.stdout
    assert str(tmp_path / "traces" / "tiny-cpu.json") in outcome.stderr.replace("\n", "")


def test_json_holds_as_many_nodes_as_were_asked_for(run, tmp_path):
    report = tmp_path / "profile.json"
    values = json.loads(run(TINY_ONNX, "--top", 2, "--json", "--report", report).stdout)
    assert json.loads(report.read_text()) == values
    assert values["schema"] == "pedseg-profile"
    assert len(values["nodes"]) == 2
    assert {"name", "operator", "shape", "provider", "calls", "ms", "share"} == set(
        values["nodes"][0]
    )
    assert len(values["operators"]) > 2


def test_what_is_no_model_is_one_line(run, image):
    outcome = run(image)
    assert outcome.exit_code == 1
    assert "Traceback" not in outcome.output


@pytest.mark.parametrize(
    ("options", "message"),
    [({"device": "auto"}, "say what to profile"), ({"runs": 0}, "runs: expected a positive")],
)
def test_what_cannot_be_profiled_is_said(image, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        profile(TINY_ONNX, image=image, output=tmp_path, **options)
