"""`pedseg-eval` measures checkpoints and artifacts by the same path."""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from pedseg_runtime.detections import Detections
from pedseg_train.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from pedseg_train.commands import evaluate as eval_command
from pedseg_train.data import Split, tutorial_split, write_split
from pedseg_train.eager import EagerSegmenter
from pedseg_train.evaluation import NUMBERS, evaluate, subject
from pedseg_train.models import build_model

pytestmark = pytest.mark.slow

NAME, CLASSES = "maskrcnn_resnet10_fpn_lite", ("background", "person")


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
    return CliRunner().invoke(eval_command.main, [str(argument) for argument in arguments])


class Artifact:
    """Stands for an exported artifact: a `Segmenter` that runs the checkpoint's model."""

    provider = "CPUExecutionProvider"
    manifest = SimpleNamespace(class_names=list(CLASSES))

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


@pytest.mark.parametrize(("part", "images"), [("test", 2), ("train", 3)])
def test_runs_own_split_is_used(checkpoint, toy_root, toy, tmp_path, part, images):
    shutil.copy(checkpoint, tmp_path / "best.safetensors")
    write_split(tmp_path / "split.json", Split(train=(0, 2, 4), test=(5, 3)), toy)
    result = invoke(
        tmp_path / "best.safetensors", "--data", toy_root, "--split", part, "--json",
        "--device", "cpu",
    )  # fmt: skip
    document = json.loads(result.stdout)
    assert (document["images"], document["split"]) == (images, str(tmp_path / "split.json"))


def test_all_images_need_not_be_those_of_the_runs_split(checkpoint, toy_root, toy, tmp_path):
    """Other data than the run's own, with the run's split beside the checkpoint."""
    (tmp_path / "best.safetensors").write_bytes(checkpoint.read_bytes())
    (tmp_path / "split.json").write_text('{"train": ["elsewhere"], "test": ["far"]}')
    result = invoke(
        tmp_path / "best.safetensors", "--data", toy_root, "--split", "all", "--json",
        "--resamples", 0,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == len(toy)


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


def test_intervals_stand_beside_ap(checkpoint, toy_root):
    options = ("--data", toy_root, "--device", "cpu", "--resamples", "30")
    document = json.loads(invoke(checkpoint, *options, "--json").stdout)
    one = document["intervals"]["segm"]["AP50"]
    assert one["low"] <= one["value"] <= one["high"]
    assert one["value"] == document["segm"]["AP50"]
    assert document["intervals"]["resamples"] == 30
    bare = json.loads(invoke(checkpoint, *options, "--json", "--resamples", "0").stdout)
    assert bare["intervals"] == {}


def test_a_row_per_image_is_written(checkpoint, toy_root, toy, tmp_path):
    file = tmp_path / "rows.csv"
    result = invoke(
        checkpoint, "--data", toy_root, "--split", "all", "--device", "cpu", "--per-image", file,
        "--resamples", "0", "--score-threshold", "0",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["image"] for row in rows] == list(toy.names)
    assert sum(int(row["people"]) for row in rows) == 10
    assert str(file) in result.stderr


def test_a_bad_name_for_the_rows_is_told_before_the_work(checkpoint, toy_root, tmp_path):
    result = invoke(checkpoint, "--data", toy_root, "--per-image", tmp_path / "rows.txt")
    assert result.exit_code == 1
    assert "ends in .csv or .json" in result.stderr


def test_a_model_compared_with_itself_gains_nothing(checkpoint, toy_root):
    result = invoke(
        checkpoint, "--data", toy_root, "--split", "all", "--device", "cpu", "--resamples", "20",
        "--compare", checkpoint, "--json",
    )  # fmt: skip
    difference = json.loads(result.stdout)["difference"]["segm"]
    assert (difference["difference"], difference["low"], difference["high"]) == (0, 0, 0)
    assert f"reference {checkpoint}" in result.stderr


def test_models_of_other_classes_are_not_compared(checkpoint, toy_root, tmp_path):
    classes = ("background", "person", "car")
    model = build_model(NAME, class_names=classes, min_size=64, max_size=96)
    header = CheckpointHeader.of(model, architecture=NAME, class_names=classes)
    save_checkpoint(tmp_path / "other.safetensors", model, header)
    result = invoke(
        checkpoint, "--data", toy_root, "--device", "cpu", "--compare",
        tmp_path / "other.safetensors",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "expected the classes background, person, found background, person, car" in result.stderr


def test_results_of_a_prediction_count_like_the_model(checkpoint, toy_root, toy, tmp_path):
    """The same detections, once measured directly and once by way of a file."""
    eager = EagerSegmenter(load_checkpoint(checkpoint).model, class_names=CLASSES)
    results = [
        {key: value for key, value in entry.items() if key != "category_name"}
        for index in range(len(toy))
        for entry in eager(toy.image(index)).to_coco(index + 1)
    ]
    images = [{"id": i + 1, "file_name": toy.path(i).name} for i in range(len(toy))]
    categories = [{"id": 1, "name": "person"}]
    (tmp_path / "found.json").write_text(json.dumps(results))
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"images": images, "categories": categories}))
    options = ("--data", toy_root, "--resamples", "0", "--json")
    by_file = json.loads(invoke(tmp_path / "found.json", *options, "--image-ids", key).stdout)
    by_model = json.loads(invoke(checkpoint, *options, "--device", "cpu").stdout)
    assert by_file["provider"] == "a file of results"
    for part in ("bbox", "segm", "errors", "precision_recall", "detections"):
        assert by_file[part] == by_model[part]


def test_results_are_compared_only_with_a_model_of_their_classes(toy_root, toy, tmp_path):
    """Their labels are the dataset's; another model's would be taken for those."""
    (tmp_path / "found.json").write_text("[]")
    key = tmp_path / "key.json"
    images = [{"id": i + 1, "file_name": toy.path(i).name} for i in range(len(toy))]
    categories = [{"id": 1, "name": "person"}]
    key.write_text(json.dumps({"images": images, "categories": categories}))
    classes = ("background", "car", "person")
    model = build_model(NAME, class_names=classes, min_size=64, max_size=96)
    header = CheckpointHeader.of(model, architecture=NAME, class_names=classes)
    save_checkpoint(tmp_path / "other.safetensors", model, header)
    result = invoke(
        tmp_path / "found.json", "--data", toy_root, "--device", "cpu", "--image-ids", key,
        "--categories", "person", "--compare", tmp_path / "other.safetensors",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "expected the classes background, person, found background, car" in result.stderr


def test_categories_are_for_files_of_results(checkpoint, toy_root):
    result = invoke(checkpoint, "--data", toy_root, "--categories", "person", "--device", "cpu")
    assert result.exit_code == 1
    assert "model that has its own classes (person)" in result.stderr


def test_a_split_file_is_taken(checkpoint, toy_root, toy, tmp_path):
    write_split(tmp_path / "mine.json", Split(train=(0, 1), test=(2, 5)), toy)
    result = invoke(
        checkpoint, "--data", toy_root, "--split-file", tmp_path / "mine.json", "--json",
        "--device", "cpu", "--resamples", "0",
    )  # fmt: skip
    document = json.loads(result.stdout)
    assert (document["images"], document["split"]) == (2, str(tmp_path / "mine.json"))


def test_a_part_without_images_is_refused(checkpoint, toy_root):
    result = invoke(checkpoint, "--data", toy_root, "--split", "val")
    assert result.exit_code == 1
    assert "expected images in the part 'val', found none" in result.stderr


def test_a_page_is_written(checkpoint, toy_root, tmp_path):
    result = invoke(
        checkpoint, "--data", toy_root, "--device", "cpu", "--resamples", "10",
        "--report", tmp_path / "page.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "<!doctype html>" in (tmp_path / "page.html").read_text()


class Failing(Artifact):
    """Finds nothing, and fails on the first image."""

    def __init__(self, error):
        self.error, self.calls = error, 0

    def __call__(self, image):
        self.calls += 1
        if self.calls == 1:
            raise self.error
        return Detections.empty(image.shape[:2])


def test_an_image_that_fails_is_one_without_detections_and_listed(
    error, toy_root, toy, tmp_path, monkeypatch
):
    artifact = tmp_path / "model.onnx"
    artifact.write_bytes(b"\x08\x0a onnx")
    monkeypatch.setattr(subject.Segmenter, "load", lambda path, device: Failing(error))
    result = invoke(artifact, "--data", toy_root, "--split", "all", "--json", "--resamples", 0)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["images"] == 6
    (failed,) = document["failed"]
    assert failed["file"] == str(toy.path(0))
    assert f"failed: {failed['file']}: {failed['reason']}" in result.stderr.splitlines()


def test_a_model_that_fails_on_all_images_has_no_accuracy(toy_root, tmp_path, monkeypatch):
    def fail(self, image):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(Failing, "__call__", fail)
    artifact = tmp_path / "model.onnx"
    artifact.write_bytes(b"\x08\x0a onnx")
    monkeypatch.setattr(subject.Segmenter, "load", lambda path, device: Failing(None))
    result = invoke(artifact, "--data", toy_root, "--split", "all", "--json")
    assert result.exit_code == 1
    assert "all 6 fail, the first with: RuntimeError: the device is gone" in result.stderr
