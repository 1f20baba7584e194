"""The whole command on a tiny checkpoint; the artifacts are stand-ins that keep the contract."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from pedseg_benchmarks import bench
from pedseg_benchmarks.bench import benchmark, choose_images
from pedseg_benchmarks.cli import main
from pedseg_benchmarks.contenders import Artifact, Eager, TorchDevice, artifact_names
from pedseg_benchmarks.results import BenchmarkResult
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import ClosedError, InputError
from pedseg_runtime.files import sha256_of
from pedseg_runtime.manifest import Manifest
from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
from pedseg_train.models import build_model

TINY_ONNX = Path(__file__).parents[1] / "runtime" / "golden" / "tiny.onnx"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights, yet ten detections on any picture."""
    torch.manual_seed(0)
    model = build_model(
        "maskrcnn_resnet18_fpn",
        min_size=64,
        max_size=96,
        score_threshold=0.0,
        detections_per_image=10,
    )
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    header = CheckpointHeader.of(
        model, architecture="maskrcnn_resnet18_fpn", class_names=("background", "person")
    )
    save_checkpoint(path, model, header)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three noise images of two sizes."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number, size in enumerate([(60, 80), (60, 80), (90, 50)]):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


class StandIn:
    """Finds one box on every image without a network; files named `wrong*` are half a pixel off."""

    format, precision = "onnx", "fp32"

    def __init__(self, path, *, device, threads, paste, digest):
        self.provider = "CPUExecutionProvider"
        self.shift = 0.5 if path.name.startswith("wrong") else 0.0
        self.manifest = Manifest(
            architecture="maskrcnn_resnet18_fpn",
            class_names=("background", "person"),
            checkpoint_sha256="f" * 64 if path.name.startswith("foreign") else digest,
            format="onnx",
        )

    def infer(self, image):
        return Detections(
            boxes=np.array([[5, 5, 40, 50]], np.float32) + np.float32(self.shift),
            labels=np.array([1]),
            scores=np.array([0.9], np.float32),
            roi_masks=np.full((1, 28, 28), 0.8, np.float32),
            image_size=image.shape[:2],
        )

    def close(self): ...


@pytest.fixture
def stand_in(monkeypatch, checkpoint, tmp_path):
    """Nobody runs a network: eager and the files that this fixture makes are stand-ins."""
    digest = sha256_of(checkpoint)
    monkeypatch.setattr(bench, "Artifact", partial(StandIn, digest=digest))
    monkeypatch.setattr(bench, "Eager", partial(StandIn, threads=1, paste=True, digest=digest))

    def file(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes(b"stand-in")
        return path

    return file


@pytest.fixture
def run(checkpoint, photos):
    def run(*arguments):
        options = ["--images", photos, "--rounds", 2, "--warmup", 1, *arguments]
        return CliRunner().invoke(main, [str(a) for a in (checkpoint, *options)])

    return run


def test_a_good_artifact_is_timed_and_all_reports_are_written(run, stand_in, tmp_path):
    outcome = run(
        stand_in("good.onnx"),
        *("--output", tmp_path / "bench.json", "--markdown", tmp_path / "bench.md"),
    )
    assert outcome.exit_code == 0, outcome.output
    assert "good.onnx" in outcome.stdout
    assert "pedseg-predict" in outcome.stderr
    document = BenchmarkResult.from_dict(json.loads((tmp_path / "bench.json").read_text()))
    eager, good = document.contenders
    assert document.passed
    assert document.settings["detections_per_image"] == 10
    assert (good.provider, good.latency.count) == ("CPUExecutionProvider", 6)
    assert sum(good.detections) == sum(eager.detections) > 0
    assert list(eager.first_of_size_ms) == ["60x80", "90x50"]
    assert "good.onnx" in (tmp_path / "bench.md").read_text()


def test_a_wrong_artifact_fails_the_command_and_has_no_times(run, stand_in):
    outcome = run(stand_in("good.onnx"), stand_in("wrong.onnx"), "--json")
    assert outcome.exit_code == 1
    rows = {row["name"]: row for row in json.loads(outcome.stdout)["contenders"]}
    assert rows["good.onnx"]["latency"] is not None
    assert rows["wrong.onnx"]["latency"] is None
    assert "not timed: wrong.onnx" in outcome.stderr
    assert "pedseg-verify" in outcome.stderr


def test_an_artifact_of_another_checkpoint_is_refused(run, stand_in):
    outcome = run(stand_in("foreign.onnx"))
    assert outcome.exit_code == 1
    assert "expected an artifact of the checkpoint" in outcome.stderr
    assert "--allow-mismatch" in outcome.stderr
    assert run(stand_in("foreign.onnx"), "--allow-mismatch").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "auto"], "say what to measure"),
        (["--warmup", "0"], "warmup: expected a positive number"),
        (["--rounds", "0"], "rounds: expected a positive number"),
    ],
    ids=["auto", "no warm-up", "no rounds"],
)
def test_what_cannot_be_measured_is_one_line(run, stand_in, arguments, message):
    outcome = run(stand_in("good.onnx"), *arguments)
    assert outcome.exit_code == 1
    assert message in outcome.stderr


def test_cuda_without_a_gpu_is_one_line(run, stand_in, monkeypatch):
    """torch itself would fail later, with a traceback, when asked for its peak memory."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    result = run(stand_in("good.onnx"), "--device", "cuda")
    assert result.exit_code == 1
    assert "sees 0 GPUs" in result.stderr
    assert "Traceback" not in result.output


def test_a_missing_file_is_a_usage_error(run):
    assert run("nothing.onnx").exit_code == 2


def test_a_real_onnx_file_is_a_contender():
    artifact = Artifact(TINY_ONNX, device="cpu", threads=1, paste=True)
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 20:50, 0] = 200
    assert len(artifact.infer(image)) == 1
    assert (artifact.provider, artifact.format) == ("CPUExecutionProvider", "onnx")
    artifact.close()
    with pytest.raises(ClosedError, match="closed"):
        artifact.infer(image)


def test_pasting_is_part_of_the_timed_work_only_if_asked_for(monkeypatch):
    pasted: list[int] = []
    monkeypatch.setattr(
        "pedseg_runtime.detections.Detections.masks", lambda self: pasted.append(len(self))
    )
    for paste in (False, True):
        Artifact(TINY_ONNX, device="cpu", threads=1, paste=paste).infer(
            np.full((8, 8, 3), 200, np.uint8)
        )
    assert len(pasted) == 1


def test_eager_is_closed_for_good(checkpoint):
    eager = Eager(checkpoint, device="cpu")
    eager.close()
    with pytest.raises(InputError, match="closed"):
        eager.infer(np.zeros((60, 80, 3), np.uint8))


def test_the_cpu_needs_no_synchronising_and_reports_no_memory():
    device = TorchDevice("cpu")
    device.synchronise()
    device.reset_peak_memory()
    assert device.peak_memory() is None


def test_cuda_is_synchronised_and_its_peak_read(monkeypatch):
    asked: list[str] = []
    for name in ("synchronize", "reset_peak_memory_stats", "empty_cache", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda *_device, name=name: asked.append(name) or 7)
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


def test_images_are_chosen_evenly_over_the_folder(photos):
    assert [path.name for path in choose_images(photos, 2)] == ["0.png", "2.png"]
    assert len(choose_images(photos, 99)) == len(choose_images(photos, None)) == 3
    with pytest.raises(InputError, match="limit"):
        choose_images(photos, 0)


def test_artifacts_of_one_name_are_told_apart_by_folder():
    paths = [Path("a/m.onnx"), Path("b/m.onnx"), Path("c/n.onnx")]
    assert artifact_names(paths) == ["a/m.onnx", "b/m.onnx", "n.onnx"]


def test_eager_itself_is_measured_against_an_artifact_that_repeats_it(
    monkeypatch, checkpoint, photos
):
    """The one test in which the network really runs; the artifact is the checkpoint once more."""

    class Repeating(Eager):
        manifest = Manifest(
            architecture="maskrcnn_resnet18_fpn",
            class_names=("background", "person"),
            checkpoint_sha256=sha256_of(checkpoint),
            format="onnx",
        )

        def __init__(self, _path, *, device, threads, paste):
            super().__init__(checkpoint, device=device)

    monkeypatch.setattr(bench, "Artifact", Repeating)
    result = benchmark(
        checkpoint, [TINY_ONNX], images=photos / "0.png", warmup=1, rounds=1, threads=1
    )
    assert result.passed
    assert result.contenders[0].provider == "torch:cpu"
    assert result.contenders[1].detections == [10]
    assert result.contenders[1].latency.count == 1
