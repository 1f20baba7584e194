"""The whole command on a tiny checkpoint; the artifacts are stand-ins that keep the contract."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from pedseg_benchmarks import dataset_selection
from pedseg_benchmarks.benchmark import BenchmarkOptions, benchmark
from pedseg_benchmarks.cli import main
from pedseg_benchmarks.contenders import registry
from pedseg_benchmarks.contenders.eager import Eager
from pedseg_benchmarks.dataset_selection import choose_images
from pedseg_benchmarks.results import BenchmarkResult
from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DatasetError, InputError
from pedseg_runtime.files import sha256_of

TINY_ONNX = Path(__file__).parents[1] / "runtime" / "golden" / "tiny.onnx"


def manifest(digest, **values):
    """Of an artifact of the tiny checkpoint."""
    settings = {"min_size": 64, "max_size": 96, "score_threshold": 0.0, "detections_per_image": 10}
    return Manifest(
        architecture="maskrcnn_resnet18_fpn",
        class_names=("background", "person"),
        checkpoint_sha256=digest,
        format="onnx",
        **{**settings, **values},
    )


class StandIn:
    """Finds one box on every image without a network; files named `wrong*` are half a pixel off."""

    format, precision, placement = "onnx", "fp32", {"CPUExecutionProvider": 3}
    max_batch, compile_seconds = None, None

    def __init__(self, path, **_options):
        self.path, self.provider = path, "CPUExecutionProvider"
        self.shift = 0.5 if path.name.startswith("wrong") else 0.0

    def infer(self, images):
        return [
            Detections(
                boxes=np.array([[5, 5, 40, 50]], np.float32) + np.float32(self.shift),
                labels=np.array([1]),
                scores=np.array([0.9], np.float32),
                roi_masks=np.full((1, 28, 28), 0.8, np.float32),
                image_size=image.shape[:2],
            )
            for image in images
        ]

    def close(self): ...


@pytest.fixture
def stand_in(monkeypatch, checkpoint, tmp_path):
    """No network runs: eager and the files that this fixture makes are stand-ins."""
    digest = sha256_of(checkpoint)

    def read(path):
        name = Path(path).name
        owner = "f" * 64 if name.startswith("foreign") else digest
        changes = {"min_size": 48} if name.startswith("smaller") else {}
        return SimpleNamespace(manifest=manifest(owner, **changes))

    monkeypatch.setattr(registry, "Artifact", StandIn)
    monkeypatch.setattr(registry, "Eager", StandIn)
    monkeypatch.setattr(registry, "read_artifact", read)

    def file(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes(b"stand-in")
        return path

    return file


@pytest.fixture
def run(checkpoint, photos):
    def run(*arguments):
        options = ["--images", photos, "--rounds", 2, "--warmup", 1, *arguments]
        return CliRunner().invoke(main, ["run", *(str(a) for a in (checkpoint, *options))])

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
    assert document.settings["rounds"] == document.settings["max_rounds"] == 2
    assert good.placement == {"CPUExecutionProvider": 3}
    assert list(eager.first_of_size_ms) == ["60x80", "90x50"]
    assert "good.onnx" in (tmp_path / "bench.md").read_text()


def test_a_wrong_artifact_fails_the_command_and_has_no_times(run, stand_in):
    outcome = run(stand_in("good.onnx"), stand_in("wrong.onnx"), "--json")
    assert outcome.exit_code == 1
    rows = {row["name"]: row for row in json.loads(outcome.stdout)["contenders"]}
    assert rows["good.onnx"]["latency"] is not None
    assert rows["wrong.onnx"]["latency"] is None
    assert "so not timed: wrong.onnx" in outcome.stderr
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


def test_the_images_of_labelled_data_are_a_folder(run, stand_in, monkeypatch, photos, tmp_path):
    """The option was declared a file, so that every folder was refused."""
    opened: list[tuple[Path, Path | None]] = []

    def open_gate(data, *, images, **_options):
        opened.append((data, images))
        raise DatasetError("seen")

    monkeypatch.setattr(dataset_selection.AccuracyGate, "open", open_gate)
    labels = tmp_path / "labels.json"
    labels.write_text("{}")
    outcome = run(stand_in("good.onnx"), "--data", labels, "--data-images", photos)
    assert (outcome.exit_code, opened) == (1, [(labels, photos)]), outcome.output
    assert run(stand_in("good.onnx"), "--data", labels, "--data-images", labels).exit_code == 2


def test_a_missing_file_is_a_usage_error(run):
    assert run("nothing.onnx").exit_code == 2


def test_artifacts_with_other_settings_than_each_other_are_refused(run, stand_in):
    outcome = run(stand_in("good.onnx"), stand_in("smaller.onnx"))
    assert outcome.exit_code == 1
    assert "min_size: expected the same in all artifacts" in outcome.stderr
    assert "good.onnx 64, smaller.onnx 48" in outcome.stderr


def test_eager_takes_the_settings_of_the_artifacts(run, stand_in, monkeypatch):
    asked: list[dict[str, float]] = []

    class Noted(StandIn):
        def __init__(self, path, *, settings, **options):
            super().__init__(path)
            asked.append(settings)

    monkeypatch.setattr(registry, "Eager", Noted)
    outcome = run(stand_in("smaller.onnx"), "--json")
    assert outcome.exit_code == 0, outcome.output
    assert asked == [{"min_size": 48}]
    assert json.loads(outcome.stdout)["settings"]["min_size"] == 48


def test_scenarios_are_measured_into_their_sections(run, stand_in):
    options = ["--offline", "--batches", "1,2", "--surface", "--stages", "--calls", "1"]
    served = ["--server", "--bound-ms", "500"]
    outcome = run(stand_in("good.onnx"), *options, *served, "--json")
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.stdout)
    sections = document["sections"]
    assert [row["batch"] for row in sections["offline"]] == [1, 1, 2, 2]
    assert len(sections["surface"]) == 2 * (5 + 4)
    assert {row["stage"] for row in sections["stages"]} == {"decode", "graph", "encode"}
    # The stand-ins are no artifacts in a Segmenter.
    assert [row["name"] for row in document["not_run"]] == ["server: eager, good.onnx"]
    assert BenchmarkResult.from_dict(document).to_dict() == document


def test_contenders_that_compile_are_not_run_on_other_shapes(run, stand_in, monkeypatch):
    monkeypatch.setattr(StandIn, "compile_seconds", 1.0)
    outcome = run(stand_in("good.onnx"), "--offline", "--calls", "1", "--json")
    document = json.loads(outcome.stdout)
    assert document["sections"]["offline"] == []
    assert document["not_run"][0]["name"] == "eager, other shapes"
    assert document["contenders"][0]["compile_ms"] == 1000


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--server"], 1, "expected --server and --bound-ms together"),
        (["--bound-ms", "5"], 1, "expected --server and --bound-ms together"),
        (["--offline", "--batches", "1,x"], 2, "expected numbers such as 1,2,4,8"),
        (["--offline", "--batches", "0"], 2, "expected positive numbers"),
    ],
    ids=["no bound", "no server", "no numbers", "nothing"],
)
def test_scenario_options_that_make_no_sense_are_one_line(run, stand_in, options, code, message):
    outcome = run(stand_in("good.onnx"), *options)
    assert outcome.exit_code == code
    assert message in outcome.stderr


def test_contenders_that_cannot_be_had_are_named_in_the_document_and_aloud(run, stand_in):
    outcome = run(stand_in("good.onnx"), "--contenders", "eager, tensorrt", "--json")
    assert outcome.exit_code == 0, outcome.output
    (missing,) = json.loads(outcome.stdout)["not_run"]
    assert missing["name"] == "good.onnx (tensorrt)"
    assert "not run: good.onnx (tensorrt): it needs an NVIDIA GPU" in outcome.stderr


def test_a_misspelt_contender_or_command_is_suggested(run, stand_in):
    outcome = run(stand_in("good.onnx"), "--contenders", "eager-compiled")
    assert outcome.exit_code == 2
    assert "did you mean 'eager-compile'?" in outcome.stderr
    assert "did you mean 'suite'?" in CliRunner().invoke(main, ["suit"]).stderr


def test_tensorrt_is_no_device_but_a_contender(run, stand_in):
    outcome = run(stand_in("good.onnx"), "--device", "tensorrt")
    assert outcome.exit_code == 1
    assert "--device cuda --contenders tensorrt" in outcome.stderr


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys; from pedseg_benchmarks.cli import main; main(['--help'], "
        "standalone_mode=False); sys.exit('torch' in sys.modules or 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "suite" in done.stdout


def test_images_are_chosen_evenly_over_the_folder(photos):
    assert [path.name for path in choose_images(photos, 2)] == ["0.png", "2.png"]
    assert len(choose_images(photos, 99)) == len(choose_images(photos, None)) == 3
    with pytest.raises(InputError, match="limit"):
        choose_images(photos, 0)


def test_eager_itself_is_measured_against_an_artifact_that_repeats_it(
    monkeypatch, checkpoint, photos
):
    """The one test in which the network really runs; the artifact is the checkpoint once more."""

    class Repeating(Eager):
        def __init__(self, _path, *, device, threads, paste):
            super().__init__(checkpoint, device=device)

    read = manifest(sha256_of(checkpoint))
    monkeypatch.setattr(registry, "Artifact", Repeating)
    monkeypatch.setattr(registry, "read_artifact", lambda _path: SimpleNamespace(manifest=read))
    result = benchmark(
        BenchmarkOptions(
            checkpoint=checkpoint,
            artifacts=[TINY_ONNX],
            images=photos / "0.png",
            warmup=1,
            rounds=1,
            threads=1,
        )
    )
    assert result.passed
    assert result.contenders[0].provider == "torch:cpu"
    assert result.contenders[1].detections == [10]
    assert result.contenders[1].latency.count == 1


@pytest.mark.parametrize("call", [1, 4, 7, 9, 12])
def test_an_image_that_fails_once_or_always_costs_only_itself(
    run, stand_in, error, monkeypatch, call
):
    infer, calls = StandIn.infer, []

    def failing(self, images):
        calls.append(images)
        if len(calls) == call or images[0].shape[0] == 90:
            raise error
        return infer(self, images)

    monkeypatch.setattr(StandIn, "infer", failing)
    outcome = run(stand_in("good.onnx"), "--json")
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.stdout)
    left_out = [image["name"] for image in document["left_out"]]
    assert len(left_out) + len(document["images"]) == 3
    assert all(row["latency"] is not None for row in document["contenders"])
    assert all(image["height"] == 60 for image in document["images"])
    assert all(f"left out: {name}: " in outcome.stderr for name in left_out)


def test_a_contender_that_fails_on_all_images_is_an_error(run, stand_in, monkeypatch):
    def fail(self, images):
        raise DatasetError("no model")

    monkeypatch.setattr(StandIn, "infer", fail)
    outcome = run(stand_in("good.onnx"))
    assert outcome.exit_code == 1
    assert "no model" in outcome.stderr


def test_images_that_cannot_be_used_are_left_out_and_listed(run, stand_in, photos):
    Image.new("RGB", (500, 1)).save(photos / "a_strip.png")
    (photos / "broken.png").write_bytes(b"no image")
    outcome = run(stand_in("good.onnx"), "--json")
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.stdout)
    assert [image["name"] for image in document["left_out"]] == ["a_strip.png", "broken.png"]
    assert "at most 96 times the shorter one" in document["left_out"][0]["reason"]
    assert BenchmarkResult.from_dict(document).to_dict() == document
