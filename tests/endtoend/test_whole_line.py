"""Every command in its order, on a handful of generated streets: what a stranger types."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pedseg_benchmarks.cli import main as bench
from pedseg_export.commands.export import main as export
from pedseg_export.commands.verify import main as verify
from pedseg_runtime.predict.cli import main as predict
from pedseg_train.commands.data import main as data_command
from pedseg_train.commands.evaluate import main as evaluate
from pedseg_train.commands.train import main as train

pytestmark = pytest.mark.slow

TRAIN = ["--preset", "smoke", "--epochs", "1", "--min-size", "64", "--max-size", "96"]


def run(command: click.Command, *arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a trained run and its ONNX artifact, made once."""
    folder = tmp_path_factory.mktemp("line")
    data, checkpoint = folder / "data", folder / "run" / "best.safetensors"
    run(data_command, "synthesize", data, "--images", 8, "--seed", 3, "--max-size", 260)
    run(train, "--data", data, "--output", folder / "run", *TRAIN)
    run(export, checkpoint, "--output", folder / "run" / "best.onnx")
    return folder


def test_training_leaves_what_its_folder_promises(folder: Path) -> None:
    names = {path.name for path in (folder / "run").iterdir()}
    promised = {"best.safetensors", "last.safetensors", "last.resume.pt", "metrics.jsonl"}
    assert names >= promised | {"split.json", "recipe.json", "curves.png", "panel.png"}


def test_artifact_and_checkpoint_have_the_same_accuracy(folder: Path) -> None:
    accuracy = {}
    for name in ("best.safetensors", "best.onnx"):
        text = run(
            evaluate, folder / "run" / name, "--data", folder / "data", "--split", "all", "--json"
        )
        accuracy[name] = json.loads(text)
    found, expected = accuracy["best.onnx"], accuracy["best.safetensors"]
    assert found["provider"] == "CPUExecutionProvider"
    for kind in ("bbox", "segm"):
        for name, value in expected[kind].items():
            assert found[kind][name] == pytest.approx(value, abs=0.002), (kind, name)


def test_verify_agrees_on_the_dataset(folder: Path) -> None:
    checkpoint = folder / "run" / "best.safetensors"
    images = folder / "data" / "PNGImages"
    arguments = [folder / "run" / "best.onnx", "--checkpoint", checkpoint, "--images", images]
    assert json.loads(run(verify, *arguments, "--json"))["passed"] is True


def test_predictions_are_drawn_for_every_image(folder: Path) -> None:
    output = folder / "predictions"
    run(predict, folder / "run" / "best.onnx", folder / "data" / "PNGImages", "--output", output)
    assert len(list(output.rglob("*.png"))) == 8
    assert len(json.loads((output / "detections.json").read_text())) == 8


def test_predictions_in_a_file_are_measured_like_the_artifact(folder: Path) -> None:
    artifact, output = folder / "run" / "best.onnx", folder / "coco"
    images = folder / "data" / "PNGImages"
    run(predict, artifact, images, "--output", output, "--format", "coco")
    options = ["--data", folder / "data", "--split", "all", "--resamples", "20", "--json"]
    found = json.loads(run(evaluate, output / "coco_results.json", *options))
    expected = json.loads(run(evaluate, artifact, *options))
    assert found["detections"] > 0
    for part in ("bbox", "segm", "detections", "errors", "intervals"):
        assert found[part] == expected[part], part


def test_the_benchmark_names_parity_and_ratio(folder: Path) -> None:
    checkpoint, file = folder / "run" / "best.safetensors", folder / "bench.json"
    arguments = [
        "run",
        checkpoint,
        folder / "run" / "best.onnx",
        "--images",
        folder / "data" / "PNGImages",
    ]
    options = ["--limit", 1, "--rounds", 2, "--warmup", 1, "--output", file]
    assert "best" in run(bench, *arguments, *options)
    assert json.loads(file.read_text())["schema"] == "pedseg-benchmark"
