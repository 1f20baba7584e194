"""`pedseg-export` and `pedseg-verify` as a person or a script uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from pedseg_export.commands.export import main, read_samples
from pedseg_export.commands.verify import main as verify_main
from pedseg_export.verification import generated_samples

pytestmark = pytest.mark.slow


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, sample in enumerate(generated_samples()[:3]):
        Image.fromarray(sample.image).save(folder / f"{index}.png")
    return folder


def test_export_compares_on_given_images_and_prints_json(
    runner: CliRunner, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "model.torchscript"
    arguments = [str(checkpoint), "--format", "torchscript", "--output", str(target)]
    arguments += ["--images", str(image_folder), "--license", "bsd-3-clause", "--json"]
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["manifest"]["license"] == "bsd-3-clause"
    assert summary["model_card"] == f"{target}.md"
    assert "license: bsd-3-clause" in Path(summary["model_card"]).read_text()
    assert summary["bytes"] == target.stat().st_size
    assert summary["manifest"]["parity"]["counts"]["images"] == len(generated_samples()) + 3
    assert f"pedseg-predict {target}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{checkpoint}", "--format", "onxn"], 2, "did you mean 'onnx'?"),
        (["missing.safetensors"], 1, "missing.safetensors"),
        (["{checkpoint}", "--images", "nowhere"], 1, "nowhere"),
        (["{checkpoint}", "--device", "tpu"], 1, "tpu"),
        (["{artifact}"], 1, "pedseg-train"),
        (["{checkpoint}", "--license", "my: own"], 1, "bsd-3-clause"),
        ([], 2, "CHECKPOINT"),
    ],
    ids=["format", "missing", "no images", "device", "an artifact", "license", "nothing"],
)
def test_bad_input_is_reported_in_one_line(
    runner: CliRunner,
    checkpoint: Path,
    onnx_artifact,
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
) -> None:
    names = {"checkpoint": str(checkpoint), "artifact": str(onnx_artifact.result.path)}
    filled = [argument.format(**names) for argument in arguments]
    output = tmp_path / "model.onnx"
    result = runner.invoke(main, [*filled, "--output", str(output)])
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not output.exists()


def test_verify_accepts_the_artifact_of_the_checkpoint(
    runner: CliRunner, onnx_artifact, checkpoint: Path, image_folder: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    arguments = [str(onnx_artifact.result.path), "--checkpoint", str(checkpoint)]
    options = ["--images", str(image_folder), "--report", str(report)]
    result = runner.invoke(verify_main, [*arguments, *options])
    assert result.exit_code == 0, result.output
    assert json.loads(report.read_text())["counts"]["images"] == 3
    assert "within" in result.stdout


def test_verify_refuses_an_artifact_of_other_weights(
    runner: CliRunner, onnx_artifact, tmp_path: Path
) -> None:
    import torch

    from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
    from pedseg_train.models import build_model

    torch.manual_seed(5)
    model = build_model(
        "maskrcnn_resnet10_fpn_lite", min_size=64, max_size=96, detections_per_image=8
    ).eval()
    other = tmp_path / "other.safetensors"
    header = CheckpointHeader.of(
        model, architecture="maskrcnn_resnet10_fpn_lite", class_names=("background", "person")
    )
    save_checkpoint(other, model, header)
    arguments = [str(onnx_artifact.result.path), "--checkpoint", str(other), "--json"]
    result = runner.invoke(verify_main, arguments)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["passed"] is False
    assert "another checkpoint" in result.stderr
    assert "parity FAILED" in result.stderr


def test_samples_are_spread_over_a_long_folder(image_folder: Path) -> None:
    assert [sample.name for sample in read_samples(image_folder, 2)] == ["0.png", "2.png"]
    assert len(read_samples(image_folder, 9)) == 3


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "pedseg_export", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "CHECKPOINT" in done.stdout
