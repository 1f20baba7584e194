"""`pedseg-eval` measures checkpoints and artifacts by the same path."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from pedseg_train import eval_cli
from pedseg_train.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from pedseg_train.data import Split, tutorial_split, write_split
from pedseg_train.eager import EagerSegmenter
from pedseg_train.evaluation import NUMBERS, evaluate, subject
from pedseg_train.models import build_model

NAME, CLASSES = "maskrcnn_resnet18_fpn", ("background", "person")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = build_model(
        NAME, min_size=64, max_size=96, score_threshold=0.0, detections_per_image=10
    )
    header = CheckpointHeader.of(model, architecture=NAME, class_names=CLASSES)
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(path, model, header)
    return path


def invoke(*arguments):
    return CliRunner().invoke(eval_cli.main, [str(argument) for argument in arguments])


class Artifact:
    """Stands for an exported artifact: a `Segmenter` that runs the checkpoint's model."""

    provider = "CPUExecutionProvider"

    def __init__(self, checkpoint):
        self._eager = EagerSegmenter(load_checkpoint(checkpoint).model, class_names=CLASSES)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __call__(self, image):
        return self._eager(image)


def test_json_is_what_the_library_finds(checkpoint, toy_root, toy, tmp_path):
    file = tmp_path / "result.json"
    result = invoke(checkpoint, "--data", toy_root, "--json", "--output", file, "--device", "cpu")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    eager = EagerSegmenter(load_checkpoint(checkpoint).model, class_names=CLASSES)
    expected = evaluate(eager, toy, tutorial_split(len(toy)).test)
    assert {key: document[key] for key in expected.to_dict()} == expected.to_dict()
    assert document["provider"] == "torch:cpu"
    assert json.loads(file.read_text()) == document


def test_table_shows_the_twelve_numbers(checkpoint, toy_root):
    result = invoke(checkpoint, "--data", toy_root, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert all(f" {name} " in result.stdout for name in NUMBERS)
    assert "the tutorial's rule with seed 1" in result.stderr


def test_artifact_goes_the_same_way(checkpoint, toy_root, tmp_path, monkeypatch):
    artifact = tmp_path / "model.onnx"
    artifact.write_bytes(b"\x08\x0a onnx")
    monkeypatch.setattr(subject.Segmenter, "load", lambda path, device: Artifact(checkpoint))
    by_artifact = json.loads(invoke(artifact, "--data", toy_root, "--json").stdout)
    by_checkpoint = json.loads(invoke(checkpoint, "--data", toy_root, "--json").stdout)
    assert by_artifact["provider"] == "CPUExecutionProvider"
    assert by_artifact["bbox"] == by_checkpoint["bbox"]


@pytest.mark.parametrize(("part", "images"), [("test", 2), ("train", 3), ("all", 6)])
def test_runs_own_split_is_used(checkpoint, toy_root, toy, tmp_path, part, images):
    shutil.copy(checkpoint, tmp_path / "best.safetensors")
    write_split(tmp_path / "split.json", Split(train=(0, 2, 4), test=(5, 3)), toy)
    result = invoke(
        tmp_path / "best.safetensors", "--data", toy_root, "--split", part, "--json",
        "--device", "cpu",
    )  # fmt: skip
    document = json.loads(result.stdout)
    assert (document["images"], document["split"]) == (images, str(tmp_path / "split.json"))


def test_missing_model_is_one_line(toy_root, tmp_path):
    result = invoke(tmp_path / "none.onnx", "--data", toy_root)
    assert result.exit_code == 1
    assert "no such file" in result.stderr


def test_file_that_is_neither_is_one_line(toy_root, tmp_path):
    (tmp_path / "notes.txt").write_text("neither checkpoint nor artifact")
    result = invoke(tmp_path / "notes.txt", "--data", toy_root)
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1


def test_misspelt_part_is_a_usage_error(checkpoint, toy_root):
    result = invoke(checkpoint, "--data", toy_root, "--split", "tests")
    assert result.exit_code == 2
    assert "did you mean 'test'?" in result.stderr
