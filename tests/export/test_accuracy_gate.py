"""The AP gate of a lower precision: it passes, fails, or is not proven."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pedseg_export.accuracy_gate import (
    MIN_IMAGES,
    Outcome,
    judge,
    measure,
)
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DatasetError, InputError
from pedseg_train.data import PennFudanDataset, Split, write_split
from pedseg_train.evaluation.bootstrap import ApDifference, KindDifference
from pedseg_train.evaluation.subject import select_images

SIZE = (60, 90)
SHADES = (100, 140, 180)  # of the persons, darkest first


def difference(points: float, low: float, high: float, *, images: int = 60) -> ApDifference:
    """A measured change of both kinds of AP, from 0.8."""
    kind = KindDifference(
        reference=0.8, candidate=0.8 + points / 100, difference=points, low=low, high=high
    )
    return ApDifference(
        bbox=kind, segm=kind, images=images, instances=150, resamples=1000, confidence=0.95
    )


def test_a_loss_that_is_surely_small_passes() -> None:
    verdict = judge(difference(-0.1, -0.4, 0.2), max_drop=0.5)
    assert verdict.outcome is Outcome.PASSES
    assert "box AP lost 0.10 points" in verdict.reason
    assert "mask AP lost 0.10 points" in verdict.reason


def test_a_measured_loss_beyond_the_limit_fails_whatever_the_interval_says() -> None:
    verdict = judge(difference(-0.6, -2.0, 0.8), max_drop=0.5)
    assert verdict.outcome is Outcome.FAILS
    assert verdict.reason == (
        "box AP lost 0.60 points, more than the 0.5 allowed (95% interval -2.00 to +0.80 on "
        "60 images)"
    )


def test_a_small_loss_with_a_wide_interval_is_not_proven_and_says_how_many_images_are() -> None:
    """From -0.2 there are 0.3 points of room and the interval reaches 0.6 below: four times."""
    verdict = judge(difference(-0.2, -0.8, 0.4), max_drop=0.5)
    assert verdict.outcome is Outcome.NOT_PROVEN
    assert "reaches beyond; about 240 labelled images would prove it" in verdict.reason


def test_a_loss_at_the_limit_announces_no_proof() -> None:
    verdict = judge(difference(-0.5, -0.9, -0.1), max_drop=0.5)
    assert verdict.outcome is Outcome.NOT_PROVEN
    assert "hardly" in verdict.reason


def test_the_worse_kind_decides() -> None:
    good, bad = difference(0.0, -0.1, 0.1), difference(-3.0, -4.0, -2.0)
    verdict = judge(replace(good, segm=bad.segm), max_drop=0.5)
    assert verdict.outcome is Outcome.FAILS
    assert verdict.reason.startswith("mask AP lost 3.00 points")
    unsure = difference(0.0, -9.0, 9.0)
    assert judge(replace(bad, segm=unsure.segm), max_drop=0.5).outcome is Outcome.FAILS


def test_a_gain_passes() -> None:
    assert judge(difference(0.4, 0.1, 0.7), max_drop=0.0).outcome is Outcome.PASSES


def test_a_handful_of_images_proves_nothing() -> None:
    """A bootstrap of one image has an interval of no width."""
    few = difference(0.0, 0.0, 0.0, images=MIN_IMAGES - 1)
    verdict = judge(few, max_drop=0.5)
    assert verdict.outcome is Outcome.NOT_PROVEN
    assert f"label at least {MIN_IMAGES}" in verdict.reason
    assert judge(replace(few, images=MIN_IMAGES), max_drop=0.5).outcome is Outcome.PASSES


def test_an_untrained_checkpoint_proves_nothing() -> None:
    """Nothing can be lost where nothing was found."""
    nothing = KindDifference(reference=0.002, candidate=0.0, difference=-0.2, low=-0.3, high=0.0)
    verdict = judge(replace(difference(0, 0, 0), bbox=nothing, segm=nothing), max_drop=0.5)
    assert verdict.outcome is Outcome.NOT_PROVEN
    assert "own box AP is 0.20 points" in verdict.reason


@given(
    st.floats(-5, 5), st.floats(0, 5), st.floats(0, 5), st.integers(1, 200), st.floats(0, 5)
)  # fmt: skip
def test_passing_means_the_whole_interval_is_within_the_limit(
    points: float, below: float, above: float, images: int, max_drop: float
) -> None:
    measured = difference(points, points - below, points + above, images=images)
    verdict = judge(measured, max_drop=max_drop)
    assert (verdict.outcome is Outcome.FAILS) == (points < -max_drop)
    if verdict.outcome is Outcome.PASSES:
        assert points - below >= -max_drop
        # A more patient owner is not refused what a stricter one accepts.
        assert judge(measured, max_drop=max_drop + 1).outcome is Outcome.PASSES
    assert "\n" not in verdict.reason
    json.dumps(verdict.to_dict(), allow_nan=False)


@pytest.mark.parametrize("max_drop", [-0.1, float("nan"), float("inf")])
def test_a_senseless_limit_is_refused(max_drop: float) -> None:
    with pytest.raises(InputError, match="max_drop: expected points"):
        judge(difference(0, 0, 0), max_drop=max_drop)


def test_the_verdict_is_the_manifests_accuracy() -> None:
    document = judge(difference(-0.1, -0.4, 0.2), max_drop=0.5).to_dict()
    assert document["outcome"] == "passes"
    assert document["max_drop"] == 0.5
    assert document["segm"]["low"] == -0.4
    assert document["images"] == 60


def write_dataset(root: Path, people: list[int]) -> PennFudanDataset:
    """Images with so many bright rectangles each, in the Penn-Fudan layout."""
    for folder in ("PNGImages", "PedMasks"):
        (root / folder).mkdir(parents=True)
    for number, count in enumerate(people):
        image = np.zeros((*SIZE, 3), np.uint8)
        ids = np.zeros(SIZE, np.uint8)
        for person in range(count):
            place = np.s_[10 + number % 5 : 50, 5 + 28 * person : 25 + 28 * person]
            image[place], ids[place] = SHADES[person], person + 1
        Image.fromarray(image).save(root / "PNGImages" / f"p{number:02}.png")
        Image.fromarray(ids).save(root / "PedMasks" / f"p{number:02}_mask.png")
    return PennFudanDataset(root)


def find(image: np.ndarray, *, darkest: int = 0, offset: float = 0.0) -> Detections:
    """The rectangles no darker than `darkest`, to the pixel, or `offset` pixels aside."""
    boxes = []
    for shade in SHADES:
        rows, columns = np.nonzero(image[..., 0] == shade)
        if shade >= darkest and len(rows):
            # The last pixel belongs to the instance: the tutorial's boxes.
            boxes.append([columns.min(), rows.min(), columns.max(), rows.max()])
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4) + np.float32(offset),
        labels=np.ones(len(boxes), np.int64),
        scores=np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        roi_masks=np.ones((len(boxes), 28, 28), np.float32),
        image_size=SIZE,
    )


@pytest.fixture
def dataset(tmp_path: Path) -> PennFudanDataset:
    return write_dataset(tmp_path / "data", [3, 0, 2, 1] * 6)


def test_an_equal_artifact_passes(dataset: PennFudanDataset) -> None:
    measured = measure(find, find, dataset, range(len(dataset)), resamples=20)
    assert (measured.images, measured.instances) == (24, 36)
    assert measured.bbox.reference == pytest.approx(1.0)
    verdict = judge(measured, max_drop=0.0)
    assert verdict.outcome is Outcome.PASSES
    assert "did not change" in verdict.reason


def test_an_artifact_that_misses_the_darkest_fails(dataset: PennFudanDataset) -> None:
    measured = measure(
        lambda image: find(image, darkest=140), find, dataset, range(len(dataset)), resamples=50
    )
    assert measured.segm.high < -10
    assert judge(measured, max_drop=0.5).outcome is Outcome.FAILS


def test_masks_and_boxes_are_measured_separately(dataset: PennFudanDataset) -> None:
    """Soft masks of nothing leave the boxes as they are."""

    def blind(image: np.ndarray) -> Detections:
        detections = find(image)
        return replace(detections, roi_masks=np.zeros_like(detections.roi_masks))

    measured = measure(blind, find, dataset, range(len(dataset)), resamples=20)
    assert measured.bbox.difference == 0
    assert measured.segm.candidate == 0


def test_only_the_runs_own_test_images_are_measured(
    dataset: PennFudanDataset, tmp_path: Path
) -> None:
    write_split(tmp_path / "split.json", Split(train=(0, 1), test=(2, 3, 4)), dataset)
    indices, origin = select_images(tmp_path / "best.safetensors", dataset)
    assert origin == str(tmp_path / "split.json")
    measured = measure(find, find, dataset, indices, resamples=20)
    assert (measured.images, measured.instances) == (3, 2 + 1 + 3)


def test_an_empty_part_is_refused(dataset: PennFudanDataset) -> None:
    with pytest.raises(DatasetError, match="expected labelled images"):
        measure(find, find, dataset, ())


def test_images_without_people_are_refused(tmp_path: Path) -> None:
    empty = write_dataset(tmp_path / "data", [0, 0])
    with pytest.raises(DatasetError, match="none on 2 images; label some"):
        measure(find, find, empty, (0, 1))


def test_images_without_labels_are_refused(dataset: PennFudanDataset) -> None:
    """A folder of images alone is no dataset: the message names the missing mask."""
    (dataset.root / "PedMasks" / "p00_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"expected the mask .*p00_mask\.png"):
        PennFudanDataset(dataset.root)
