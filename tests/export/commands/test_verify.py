"""`pedseg-verify` with stages, and with artifacts that have settings of their own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor, nn

from pedseg_export.commands.verify import (
    Verification,
    as_exported,
    main,
    select_samples,
)
from pedseg_export.export import describe, write
from pedseg_export.formats import torch_archives
from pedseg_export.graph import InferenceGraph
from pedseg_export.library_output import capture_library_output, discard
from pedseg_export.options import ExportOptions
from pedseg_export.stages import StageReport, StageResult
from pedseg_export.verification import Failure, Sample, generated_samples
from pedseg_export.verification import verify as compare_samples
from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError
from pedseg_runtime.parity import compare
from pedseg_train.checkpoint import LoadedCheckpoint, with_settings

pytestmark = pytest.mark.slow


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three streets, two of 240x320 and one of 375x500."""
    folder = tmp_path / "image_folder"
    folder.mkdir()
    samples = generated_samples()
    for sample in (samples[0], samples[1], samples[3]):
        Image.fromarray(sample.image).save(folder / f"{sample.name[:8]}.png")
    return folder


class Swapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> tuple[Tensor, list[int]]:
        return self.inner(images.flip([3]))


def script(loaded: LoadedCheckpoint, path: Path, *, swapped: bool = False, **options: str) -> Path:
    """A TorchScript artifact, which takes a moment to make."""
    chosen = ExportOptions(format="torchscript", **options)
    graph = InferenceGraph(loaded.model, dtype=chosen.dtype)
    if swapped:
        graph.preprocessing = Swapped(graph.preprocessing)
    with capture_library_output(discard):
        draft = torch_archives.convert_torchscript(graph)
        write(draft, path, describe(loaded, chosen, draft))
    return path


def verify(artifact: Path, checkpoint: Path, *options: str) -> Result:
    return CliRunner().invoke(
        main, [str(artifact), "--checkpoint", str(checkpoint), "--stages", *options]
    )


def test_stages_of_a_good_artifact_are_shown_and_written(
    torchscript_artifact, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    options = ["--images", str(image_folder), "--report", str(report)]
    result = verify(torchscript_artifact.result.path, checkpoint, *options)
    assert result.exit_code == 0, result.output
    assert "stages: all 6 agree with eager on 3 images" in result.stdout
    written = json.loads(report.read_text())
    assert written["passed"] is True
    assert written["stages"]["first_failure"] is None
    assert len(written["stages"]["stages"]) == 6
    assert written["counts"]["images"] == 3


def test_without_stages_nothing_is_said_of_them(
    torchscript_artifact, checkpoint: Path, image_folder: Path
) -> None:
    arguments = [str(torchscript_artifact.result.path), "--checkpoint", str(checkpoint)]
    result = CliRunner().invoke(main, [*arguments, "--images", str(image_folder), "--json"])
    assert result.exit_code == 0, result.output
    assert "stages" not in json.loads(result.stdout)


def test_the_first_stage_that_disagrees_is_named_in_one_line(
    loaded: LoadedCheckpoint, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    artifact = script(loaded, tmp_path / "swapped", swapped=True)
    result = verify(artifact, checkpoint, "--images", str(image_folder))
    assert result.exit_code == 1
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("first stage that disagrees with eager: preprocessed image: values ")
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "parity FAILED" in error
    assert "preprocessed image" in error


def test_json_holds_both_verdicts(
    loaded: LoadedCheckpoint, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    artifact = script(loaded, tmp_path / "swapped", swapped=True)
    result = verify(artifact, checkpoint, "--images", str(image_folder), "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["passed"] is False
    assert document["stages"]["first_failure"] == "preprocessed image"


def test_eager_follows_the_settings_of_the_artifact(
    loaded: LoadedCheckpoint, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    other = with_settings(loaded, min_size=48, detections_per_image=3)
    artifact = script(other, tmp_path / "other")
    result = verify(artifact, checkpoint, "--images", str(image_folder))
    assert result.exit_code == 0, result.output
    assert "min_size 48 (checkpoint: 64), detections_per_image 3 (checkpoint: 8)" in result.stderr


def test_settings_that_are_the_checkpoints_are_not_spoken_of(
    loaded: LoadedCheckpoint, torchscript_artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert as_exported(loaded, torchscript_artifact.result.manifest) is loaded
    assert capsys.readouterr().err == ""


def test_a_lower_precision_is_reported_and_not_refused(
    loaded: LoadedCheckpoint, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    artifact = script(loaded, tmp_path / "half", precision="fp16")
    result = verify(artifact, checkpoint, "--images", str(image_folder))
    assert result.exit_code == 0, result.output
    assert "for information: AP decides whether the loss of fp16 is acceptable" in result.stdout


def test_a_fixed_artifact_takes_only_images_of_its_size(image_folder: Path) -> None:
    manifest = Manifest(
        architecture="a", class_names=("background", "person"), checkpoint_sha256="", format="onnx"
    )
    assert len(select_samples(manifest, image_folder, 9)) == 3
    fixed = dataclasses.replace(manifest, static_shape=(2, 240, 320))
    assert [sample.image.shape for sample in select_samples(fixed, image_folder, 9)] == [
        (240, 320, 3)
    ] * 2
    assert {sample.image.shape for sample in select_samples(fixed, None, 9)} == {(240, 320, 3)}
    other = dataclasses.replace(manifest, static_shape=(2, 241, 320))
    with pytest.raises(InputError, match="241x320"):
        select_samples(other, image_folder, 9)


@pytest.mark.parametrize(
    ("precision", "agreeing", "stage", "passes"),
    [
        ("fp32", 10, "passed", True),
        ("fp32", 10, "failed", False),
        ("fp32", 10, "not judged", False),
        ("fp32", 9, "passed", False),
        ("fp16", 9, "failed", True),
        ("fp16", 7, "passed", False),
    ],
)
def test_both_verdicts_count_and_a_lower_precision_has_to_find_most(
    eager, precision: str, agreeing: int, stage: str, passes: bool
) -> None:
    found = eager(generated_samples()[0].image)
    boxes = 50 * np.arange(10, dtype=np.float32)[:, None] + np.array([0, 0, 20, 20], np.float32)
    first = dataclasses.replace(
        found,
        boxes=boxes,
        labels=np.ones(10, np.int64),
        scores=np.full(10, 0.99, np.float32),
        roi_masks=np.ones((10, 28, 28), np.float32),
    )
    report = StageReport(
        precision=precision,
        images=1,
        stages=(StageResult("proposals", "", stage, 1, (), ("a reason",)),),
    )
    parity = compare([first], [first[:agreeing]])
    verification = Verification(precision=precision, parity=parity, stages=report)
    assert bool(verification) is passes
    assert verification.to_dict()["passed"] is passes
    if stage == "not judged":
        assert "proposals could not be judged: a reason" in verification.summary()


class Finds:
    """Both sides of a comparison: one box on every image, but an error on those of a height."""

    manifest = Manifest(
        architecture="a", class_names=("background", "person"), checkpoint_sha256="", format="onnx"
    )

    def __init__(self, error: Exception, height: int) -> None:
        self.error, self.height = error, height

    def __call__(self, image: np.ndarray) -> Detections:
        if image.shape[0] == self.height:
            raise self.error
        return Detections(
            boxes=np.array([[1, 1, 20, 30]], np.float32),
            labels=np.array([1]),
            scores=np.array([0.9], np.float32),
            roi_masks=np.full((1, 28, 28), 0.8, np.float32),
            image_size=image.shape[:2],
        )

    def predict(self, images: list[np.ndarray], **options: object) -> list[Detections | Exception]:
        assert options["on_error"] == "return"
        return [self.error if image.shape[0] == self.height else self(image) for image in images]


@pytest.mark.parametrize("side", ["artifact", "eager"])
def test_an_image_that_fails_on_either_side_costs_only_itself(error: Exception, side: str) -> None:
    samples = [Sample(f"{n}.png", np.zeros((40 + n, 50, 3), np.uint8)) for n in range(10)]
    artifact = Finds(error, 43 if side == "artifact" else 0)
    eager = Finds(error, 43 if side == "eager" else 0)
    failed: list[Failure] = []
    report = compare_samples(artifact, eager, samples, on_failure=failed.append)
    assert [failure.name for failure in failed] == ["3.png"]
    assert str(failed[0]).startswith("3.png: ")
    assert (report.passed, report.counts.images) == (True, 9)
    verification = Verification(precision="fp32", parity=report, failed=failed)
    assert bool(verification) is isinstance(error, InputError)
    assert verification.to_dict()["failed"][0]["file"] == "3.png"
    with pytest.raises(type(error)):
        compare_samples(artifact, eager, samples)


def test_images_that_cannot_be_used_are_left_out_and_listed(
    torchscript_artifact, checkpoint: Path, image_folder: Path
) -> None:
    Image.new("RGB", (900, 1), (120, 130, 140)).save(image_folder / "a_strip.png")
    (image_folder / "broken.png").write_bytes(b"no image")
    result = verify(torchscript_artifact.result.path, checkpoint, "--images", str(image_folder))
    assert result.exit_code == 0, result.output
    assert "agree with eager on 3 images" in result.stdout
    left_out = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    assert ["broken.png" in left_out[0], "a_strip.png" in left_out[1]] == [True, True]
    assert "times the shorter one" in left_out[1]
