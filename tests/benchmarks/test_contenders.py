from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pedseg_benchmarks.contenders import NotRunError
from pedseg_benchmarks.contenders.artifacts import Artifact
from pedseg_benchmarks.contenders.base import TorchDevice
from pedseg_benchmarks.contenders.eager import Eager
from pedseg_benchmarks.contenders.registry import (
    Conditions,
    artifact_names,
    build_contenders,
    parse_contenders,
)
from pedseg_benchmarks.contenders.stock import StockOnnx
from pedseg_benchmarks.harness import timed_call
from pedseg_benchmarks.workers import WorkerContext
from pedseg_runtime.errors import ClosedError, InputError
from pedseg_runtime.parity import compare

pytestmark = pytest.mark.slow

TINY_ONNX = Path(__file__).parents[1] / "runtime" / "golden" / "tiny.onnx"
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler"
)


@pytest.fixture
def image():
    """Red where the tiny graph finds an object."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 20:50, 0] = 200
    return image


@pytest.fixture(scope="module")
def noise(photos):
    return np.asarray(Image.open(photos / "0.png"))


def test_a_real_onnx_file_is_a_contender(image):
    artifact = Artifact(TINY_ONNX, device="cpu", threads=1, paste=True)
    assert [len(found) for found in artifact.infer([image, image])] == [1, 1]
    assert (artifact.provider, artifact.format) == ("CPUExecutionProvider", "onnx")
    assert sum(artifact.placement.values()) > 0
    artifact.close()
    with pytest.raises(ClosedError, match="closed"):
        artifact.infer([image])


def test_pasting_is_part_of_the_timed_work_only_if_asked_for(monkeypatch):
    pasted: list[int] = []
    monkeypatch.setattr(
        "pedseg_runtime.detections.Detections.masks", lambda self: pasted.append(len(self))
    )
    for paste in (False, True):
        artifact = Artifact(TINY_ONNX, device="cpu", threads=1, paste=paste)
        artifact.infer([np.full((8, 8, 3), 200, np.uint8)])
    assert len(pasted) == 1


def test_eager_is_closed_for_good(checkpoint, noise):
    eager = Eager(checkpoint, device="cpu")
    eager.close()
    with pytest.raises(ClosedError, match="closed"):
        eager.infer([noise])


def test_eager_answers_a_list_in_one_call(checkpoint, noise):
    eager = Eager(checkpoint, device="cpu")
    one, two = eager.infer([noise, np.ascontiguousarray(noise[::-1])])
    assert len(one) == len(two) == 10
    assert compare(eager.infer([noise]), [one], score_threshold=0.0)


def test_eager_can_be_given_other_settings(checkpoint, noise):
    (found,) = Eager(checkpoint, device="cpu", settings={"detections_per_image": 3}).infer([noise])
    assert len(found) == 3


def test_channels_last_finds_the_same(checkpoint, noise):
    plain = Eager(checkpoint, device="cpu").infer([noise])
    other = Eager(checkpoint, device="cpu", channels_last=True)
    assert compare(plain, other.infer([noise]), score_threshold=0.0)
    assert other.precision == "fp32"


def test_autocast_computes_in_bfloat16_on_the_cpu_and_still_answers_in_float32(checkpoint, noise):
    half = Eager(checkpoint, device="cpu", autocast=True)
    (found,) = half.infer([noise])
    assert half.precision == "bf16"
    assert found.boxes.dtype == found.scores.dtype == found.roi_masks.dtype == np.float32
    plain = Eager(checkpoint, device="cpu").infer([noise])
    assert not compare(plain, [found], score_threshold=0.0)


@needs_compiler
def test_a_compiled_trunk_says_how_long_compiling_took(checkpoint, noise, monkeypatch):
    # The backend that compiles nothing traces all the same, in a second instead of a minute.
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compiler(module, backend="eager"))
    compiled = Eager(checkpoint, device="cpu", compiled=True)
    assert compiled.compile_seconds == 0
    plain = Eager(checkpoint, device="cpu").infer([noise])
    assert compare(plain, compiled.infer([noise]), score_threshold=0.0)
    first = compiled.compile_seconds
    compiled.infer([noise])
    assert compiled.compile_seconds == first > 0


def test_the_stock_export_is_made_once_and_answers_as_eager_does(checkpoint, noise, tmp_path):
    options = {"device": "cpu", "threads": 1, "cache": tmp_path}
    exported = StockOnnx(checkpoint, **options)
    (found,) = exported.infer([noise])
    assert compare(Eager(checkpoint, device="cpu").infer([noise]), [found], score_threshold=0.0)
    assert (exported.format, exported.provider) == ("stock-onnx", "CPUExecutionProvider")
    assert exported.max_batch == 1
    made = exported.path.stat().st_mtime_ns
    assert StockOnnx(checkpoint, **options).path.stat().st_mtime_ns == made
    other = StockOnnx(checkpoint, **options, settings={"detections_per_image": 3})
    assert other.path != exported.path
    assert len(other.infer([noise])[0]) == 3


def test_an_export_that_fails_is_named_and_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        raise RuntimeError("no symbolic function\nfor aten::foo")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(NotRunError, match=r"RuntimeError: no symbolic function$"):
        StockOnnx(checkpoint, device="cpu", threads=1, cache=tmp_path)
    assert not list(tmp_path.iterdir())


@needs_openvino
def test_openvino_runs_the_very_file(image):
    (contender,) = (each for each in names(["openvino"], path=TINY_ONNX) if each.optional)
    model = contender.load()
    artifact = Artifact(TINY_ONNX, device="cpu", threads=1, paste=True)
    assert compare(artifact.infer([image]), model.infer([image]))
    assert [len(found) for found in model.infer([image, 0 * image])] == [1, 0]
    assert (model.provider, model.format) == ("openvino:CPU", "onnx")


def test_the_cpu_needs_no_synchronising_and_has_neither_clock_nor_memory_of_its_own():
    device = TorchDevice("cpu")
    device.synchronise()
    device.reset_peak_memory()
    assert device.peak_memory() is None
    assert device.elapsed(device.mark(), device.mark()) is None


def test_cuda_is_synchronised_and_its_peak_and_events_read(monkeypatch):
    asked: list[str] = []
    names = "synchronize reset_peak_memory_stats empty_cache max_memory_allocated current_stream"
    for name in names.split():
        monkeypatch.setattr(torch.cuda, name, lambda *_device, name=name: asked.append(name) or 7)

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self, stream):
            asked.append(f"record on {stream}")

        def elapsed_time(self, _end):
            return 2500.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    device = TorchDevice("cuda:1")
    device.reset_peak_memory()
    device.synchronise()
    assert device.peak_memory() == 7
    assert asked == [
        "empty_cache",
        "reset_peak_memory_stats",
        "synchronize",
        "max_memory_allocated",
    ]
    assert device.elapsed(device.mark(), device.mark()) == 2.5
    assert asked[-1] == "record on 7"


@pytest.mark.gpu("torch")
def test_cuda_events_agree_with_the_host_clock(checkpoint, noise):
    context = WorkerContext(
        Eager(checkpoint, device="cuda"), TorchDevice("cuda"), time.perf_counter
    )
    timed_call(context, [noise])
    timing = timed_call(context, [noise])
    assert timing.device_seconds == pytest.approx(timing.seconds, rel=0.5)


def test_artifacts_of_one_name_are_told_apart_by_folder():
    paths = [Path("a/m.onnx"), Path("b/m.onnx"), Path("c/n.onnx")]
    assert artifact_names(paths) == ["a/m.onnx", "b/m.onnx", "n.onnx"]


def names(optional, device="cpu", onnx=True, path=Path("m.onnx")):
    conditions = Conditions(device=device, threads=1, paste=True, cache=Path("stock"))
    return build_contenders(Path("c"), [path], optional, conditions, onnx=[path] if onnx else [])


def reason(contender):
    with pytest.raises(NotRunError) as caught:
        contender.load()
    return str(caught.value)


def test_eager_comes_first_and_artifacts_are_always_there():
    optional = parse_contenders("stock-onnx,eager,eager-autocast,openvino")
    found = names(optional)
    assert [contender.name for contender in found] == [
        "eager",
        "eager-autocast",
        "stock-onnx",
        "m.onnx",
        "m.onnx (openvino)",
    ]
    assert [contender.optional for contender in found] == [False, True, True, False, True]
    assert [contender.name for contender in names(())] == ["eager", "m.onnx"]


def test_engines_of_another_device_or_without_an_artifact_say_so():
    assert "--device cuda" in reason(names(["tensorrt"])[-1])
    assert "--device cuda" in reason(names(["nhwc"])[-1])
    assert "--device cpu" in reason(names(["openvino"], device="cuda")[-1])
    assert "none was given" in reason(names(["openvino"], onnx=False)[-1])


def test_on_cuda_an_artifact_is_compared_in_nhwc_order_too():
    plain, nhwc = names(["nhwc"], device="cuda:0")[1:]
    assert [plain.name, nhwc.name] == ["m.onnx", "m.onnx (nhwc)"]
    assert nhwc.load.keywords["cuda_options"] == {"prefer_nhwc": "1"}
    assert nhwc.load.keywords["device"] == "cuda:0"
    assert "cuda_options" not in plain.load.keywords


def test_an_unknown_contender_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'stock-onnx'"):
        parse_contenders("stock-onx")
