"""What a model hub and a reader find in the card is what the manifest says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from pedseg_export.model_card import model_card, write_model_card
from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.files import sha256_of

GATE_KIND = {
    "reference": 0.5, "candidate": 0.49, "difference": -1.0, "low": -2.0, "high": 0.5,
    "candidate_interval": [0.44, 0.55],
}  # fmt: skip
FULL = Manifest(
    architecture="maskrcnn_resnet50_fpn",
    class_names=("background", "person", "a|b"),
    checkpoint_sha256="c" * 64,
    format="onnx",
    precision="int8",
    precision_notes=("RoI heads",),
    static_shape=(1, 480, 640),
    license="CC-BY-4.0",
    metrics={"bbox": {"AP": 0.6, "AP50": 0.8, "AP75": None}, "segm": {"AP": 0.5}},
    split={"train": 80, "val": 10, "test": 40, "chosen_by": "val"},
    dataset_digest={"PNGImages": "d" * 64},
    accuracy={
        "outcome": "passes", "reason": "surely", "images": 40, "instances": 99,
        "confidence": 0.95, "bbox": GATE_KIND, "segm": GATE_KIND,
    },
    parity={
        "reason": "77 pairs within all limits",
        "counts": {"images": 9, "matched": 77, "benign_flips": 1, "defects": 0},
        "fields": [{"name": "boxes", "max": 0.00123, "limit": 0.05, "unit": "pixels"}],
    },
)  # fmt: skip
BARE = Manifest(
    architecture="x", class_names=("background", "person"), checkpoint_sha256="", format="pt2"
)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "street people.onnx"
    path.write_bytes(b"an artifact")
    return path


def header(card: str) -> dict[str, Any]:
    _, text, _ = card.split("---\n", 2)
    parsed = yaml.safe_load(text)
    assert isinstance(parsed, dict)
    return parsed


def test_the_header_is_what_model_hubs_read(artifact: Path) -> None:
    found = header(model_card(artifact, FULL))
    assert found["library_name"] == "pedseg"
    assert found["pipeline_tag"] == "image-segmentation"
    assert found["license"] == "cc-by-4.0"
    assert {"onnx", "int8", "instance-segmentation"} <= set(found["tags"])
    (model,) = found["model-index"]
    assert model["name"] == "street people"
    (result,) = model["results"]
    assert result["task"]["type"] == "image-segmentation"
    assert {"name", "type"} <= result["dataset"].keys()
    assert [(one["name"], one["value"]) for one in result["metrics"]] == [
        ("box AP", 0.49),
        ("mask AP", 0.49),
    ]


def test_without_a_gate_the_header_has_what_training_recorded(artifact: Path) -> None:
    found = header(model_card(artifact, dataclasses.replace(FULL, accuracy=None)))
    metrics = found["model-index"][0]["results"][0]["metrics"]
    assert {one["name"]: one["value"] for one in metrics} == {
        "box AP": 0.6, "box AP50": 0.8, "mask AP": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "| box AP | 0.490 | 0.440 to 0.550 | 0.500 | -1.00 (-2.00 to +0.50) |",
        "80 images to learn from, 10 to validate, 40 to test. The val images chose",
        "| boxes | 0.0012 | 0.05 | pixels |",
        "77 pairs of detections, 1 benign flips, 0 defects",
        "exactly 1 × 480 × 640",
        "- In float32 still: RoI heads.",
        "`CC-BY-4.0`",
        "for each person, a|b on it",
    ],
)
def test_a_reader_finds_data_accuracy_parity_limits_and_license(artifact: Path, words: str) -> None:
    assert words in model_card(artifact, FULL)


def test_what_nobody_knows_is_said_and_not_in_the_header(artifact: Path) -> None:
    card = model_card(artifact, BARE)
    assert header(card).keys() == {"library_name", "pipeline_tag", "tags"}
    for words in ("Unknown: the checkpoint", "No interval", "Not compared", "None was stated"):
        assert words in card


def test_the_card_lies_beside_the_artifact_and_names_its_bytes(artifact: Path) -> None:
    card = write_model_card(artifact, FULL)
    assert card == artifact.parent / "street people.onnx.md"
    assert sha256_of(artifact) in card.read_text(encoding="utf-8")
    assert {path.name for path in artifact.parent.iterdir()} == {artifact.name, card.name}
