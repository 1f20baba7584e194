"""COCO JSON with three classes through the whole line, up to the names of what is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from pedseg_export.commands.export import main as export
from pedseg_runtime.predict.cli import main as predict
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import load_checkpoint, save_checkpoint
from pedseg_train.commands.data import main as data_command
from pedseg_train.commands.evaluate import main as evaluate
from pedseg_train.commands.train import main as train

pytestmark = pytest.mark.slow

CLASSES = ("background", "person", "dog", "pram")
IDS = {"pram": 40, "person": 7, "dog": 18}  # neither contiguous nor in the order of the labels
COLORS = {"person": (230, 60, 60), "dog": (60, 220, 60), "pram": (70, 90, 240)}
TRAIN = [
    "--preset", "smoke", "--epochs", "1", "--batch-size", "2", "--min-size", "64", "--max-size",
    "96", "--test", "2", "--device", "cpu",
]  # fmt: skip


def run(command: click.Command, *arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def write_coco(root: Path, count: int = 6) -> Path:
    """One rectangle of every class on each image, and a crowd of dogs on the first."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    (root / "images").mkdir(parents=True)
    for image_id in range(count):
        name = f"{image_id:02}.jpg"
        image = Image.fromarray(random.integers(0, 50, (72, 96, 3), np.uint8))
        for place, (category, color) in enumerate(COLORS.items()):
            left, top = 4 + 31 * place + int(random.integers(6)), int(random.integers(4, 30))
            right, bottom = left + 16, top + 34
            ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=color)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": IDS[category],
                    "iscrowd": 0,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
        image.save(root / "images" / name)
        images.append({"id": image_id, "file_name": name, "width": 96, "height": 72})
    rows = {"size": [72, 96], "counts": [70, 2] * 96}
    crowd = {"image_id": 0, "category_id": IDS["dog"], "iscrowd": 1, "segmentation": rows}
    annotations.append({"id": 999, **crowd})
    categories = [{"id": number, "name": name} for name, number in IDS.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(document))
    return root / "annotations.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a trained run and its TorchScript artifact, made once."""
    folder = tmp_path_factory.mktemp("classes")
    data, checkpoint = write_coco(folder / "data"), folder / "run" / "best.safetensors"
    run(data_command, "check", data)
    run(train, "--data", data, "--output", folder / "run", *TRAIN)
    options = ("--format", "torchscript", "--score-threshold", "0.0")
    _set_apart(checkpoint)
    run(export, checkpoint, "--output", folder / "run" / "best.ts", *options)
    return folder


def _set_apart(checkpoint: Path) -> None:
    """Let the box head say "dog" of everything, so that a shifted label would show."""
    loaded = load_checkpoint(checkpoint)
    bias = loaded.model.roi_heads.box_predictor.cls_score.bias
    bias.data[CLASSES.index("dog")] += 8
    save_checkpoint(checkpoint, loaded.model, loaded.header)


def test_checkpoint_and_artifact_bear_the_names_of_the_file(folder: Path) -> None:
    assert load_checkpoint(folder / "run" / "best.safetensors").header.class_names == CLASSES
    with Segmenter.load(folder / "run" / "best.ts", device="cpu") as segmenter:
        assert segmenter.manifest.class_names == CLASSES
        found = segmenter(folder / "data" / "images" / "00.jpg")
    assert set(found.label_names()) == {"dog"}


def test_predictions_are_named_and_numbered_alike(folder: Path) -> None:
    output = folder / "predictions"
    run(
        predict, folder / "run" / "best.ts", folder / "data" / "images",
        "--output", output, "--device", "cpu", "--format", "coco",
    )  # fmt: skip
    documents = [json.loads(path.read_text()) for path in sorted(output.glob("*.json"))]
    images = next(each for each in documents if isinstance(each, dict))
    found = next(each for each in documents if isinstance(each, list))
    assert images["categories"] == [
        {"id": 1, "name": "person"},
        {"id": 2, "name": "dog"},
        {"id": 3, "name": "pram"},
    ]
    assert found
    assert {each["category_id"] for each in found} == {2}


def test_checkpoint_and_artifact_are_measured_on_the_same_classes(folder: Path) -> None:
    accuracy = []
    for name in ("best.safetensors", "best.ts"):
        text = run(
            evaluate, folder / "run" / name, "--data", folder / "data", "--split", "all",
            "--device", "cpu", "--json",
        )  # fmt: skip
        accuracy.append(json.loads(text))
    assert accuracy[0]["images"] == 6
    assert accuracy[0]["segm"]["AR100"] > 0
    for kind in ("bbox", "segm"):
        assert accuracy[1][kind] == pytest.approx(accuracy[0][kind], abs=0.002)


def test_one_category_of_the_file_is_enough_for_a_model_of_three(folder: Path) -> None:
    """Dogs are label 1 of this file and label 2 of the model."""
    document = json.loads((folder / "data" / "annotations.json").read_text())
    document["categories"] = [{"id": IDS["dog"], "name": "dog"}]
    document["annotations"] = [
        each for each in document["annotations"] if each["category_id"] == IDS["dog"]
    ]
    file = folder / "data" / "dogs.json"
    file.write_text(json.dumps(document))
    text = run(
        evaluate, folder / "run" / "best.safetensors", "--data", file, "--split", "all", "--json",
        "--device", "cpu",
    )  # fmt: skip
    file.unlink()
    assert json.loads(text)["bbox"]["AR100"] > 0


def test_two_of_the_classes_are_learnt_from_images_that_lie_elsewhere(
    folder: Path, tmp_path: Path
) -> None:
    """The choice of classes belongs to the run: resuming need not repeat it."""
    file, images = tmp_path / "annotations.json", tmp_path / "elsewhere"
    shutil.copy(folder / "data" / "annotations.json", file)
    shutil.copytree(folder / "data" / "images", images)
    options = ("--data", file, "--images", images)
    settings = ("--output", tmp_path / "run", *TRAIN, "--categories", "pram,dog")
    run(train, *options, *settings)
    checkpoint = tmp_path / "run" / "best.safetensors"
    assert load_checkpoint(checkpoint).header.class_names == ("background", "dog", "pram")
    longer = ("--output", tmp_path / "run", "--resume", "--epochs", "2", "--device", "cpu")
    assert json.loads(run(train, *options, *longer, "--json"))["epochs"] == 2
    measured = json.loads(
        run(evaluate, checkpoint, *options, "--split", "all", "--device", "cpu", "--json")
    )
    assert measured["classes"].keys() == {"dog", "pram"}
