"""Candidates whose masks come pasted: their pixels are judged by the reference's soft masks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pedseg_runtime.detections import Detections
from pedseg_runtime.parity import FP32, ParityReport, compare

SIZE = (400, 600)


def discs(*boxes: tuple[float, float, float, float], softness: float = 8) -> Detections:
    """One person per box x1 y1 x2 y2, each with a soft disc for a mask."""
    down, across = np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 28), indexing="ij")
    disc = 1 / (1 + np.exp(softness * (np.hypot(down, across) - 0.8)))
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.ones(len(boxes), np.int64),
        scores=np.linspace(0.9, 0.6, len(boxes), dtype=np.float32),
        roi_masks=np.repeat(disc[None], len(boxes), axis=0).astype(np.float32),
        image_size=SIZE,
    )


def pasted(side: Detections) -> Detections:
    """The same detections with masks of the whole image, as an artifact yields them."""
    return dataclasses.replace(side, roi_masks=None, full_masks=side.masks().astype(np.uint8))


def masks_of(report: ParityReport) -> float:
    """The largest loss of the field `masks`."""
    (field,) = (field for field in report.fields if field.name == "masks")
    assert (field.unit, field.limit) == ("IoU loss", report.tolerances.masks)
    return field.max


SCENE = discs((20.3, 30.7, 90.1, 220.9), (300.2, 50.5, 344.4, 130.6), (500, 300, 590, 400))


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [(SCENE, pasted(SCENE)), (pasted(SCENE), SCENE), (pasted(SCENE), pasted(SCENE))],
    ids=["full candidate", "full reference", "both"],
)
def test_the_same_pixels_agree(reference: Detections, candidate: Detections) -> None:
    report = compare([reference], [candidate])
    assert report
    assert [field.name for field in report.fields] == ["scores", "boxes", "masks"]
    assert masks_of(report) == 0
    assert report.counts.matched == 3
    assert report.pasted.min_iou == 1
    assert report.pasted.low == ()


def test_images_without_detections_may_stand_between() -> None:
    empty = Detections.empty(SIZE)
    assert compare([empty, SCENE], [pasted(empty), pasted(SCENE)])
    assert compare([empty, SCENE], [empty, pasted(SCENE)]).counts.empty_images == 1


@pytest.mark.parametrize("reference", [SCENE, pasted(SCENE)], ids=["soft", "pasted"])
def test_wrong_pixels_are_a_defect(reference: Detections) -> None:
    candidate = pasted(SCENE)
    assert candidate.full_masks is not None
    candidate.full_masks[1] = np.roll(candidate.full_masks[1], 3, axis=1)
    report = compare([reference], [candidate])
    assert not report
    assert "masks differ by up to" in report.reason
    assert report.counts.defects == 1
    (low,) = report.pasted.low
    assert (low.index, low.kind, low.benign) == (1, "unexplained", False)
    assert masks_of(report) == pytest.approx(1 - low.iou, abs=0.02)


def test_masks_pasted_in_another_frame_are_a_defect() -> None:
    """What an export does that pastes in the resized image and resizes the masks back."""
    half = dataclasses.replace(SCENE, boxes=SCENE.boxes / 2, image_size=(200, 300))
    frames = half.masks().astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    report = compare([SCENE], [dataclasses.replace(SCENE, roi_masks=None, full_masks=frames)])
    assert not report
    assert report.counts.defects > 0


def test_the_limit_decides_how_many_pixels_may_differ() -> None:
    candidate = pasted(SCENE)
    assert candidate.full_masks is not None
    filled = np.argwhere(candidate.full_masks[0])
    area = len(filled)
    for share, agrees in ((0.9, True), (1.1, False)):
        count = round(share * FP32.masks * area)
        masks = candidate.full_masks.copy()
        # From the middle, where no soft value is near the threshold.
        middle = filled[len(filled) // 2 : len(filled) // 2 + count]
        masks[0][tuple(middle.T)] = 0
        report = compare([SCENE], [dataclasses.replace(candidate, full_masks=masks)])
        assert report.passed is agrees
        assert masks_of(report) == pytest.approx(count / area)


# A box of 28 px grows by 30/28: one pixel on each side, so its left edge lands on 99 + 0.001.
LEFT, RIGHT = ((99.999, 50, 127.999, 150), (100.001, 50, 128.001, 150))


@pytest.mark.parametrize("form", ["soft", "pasted"])
def test_a_one_pixel_paste_shift_is_a_benign_flip(form: str) -> None:
    reference, candidate = discs(LEFT), pasted(discs(RIGHT))
    report = compare([reference if form == "soft" else pasted(reference)], [candidate])
    assert report
    assert masks_of(report) == 0
    assert report.counts.benign_flips == 1
    assert "1 benign flip" in report.reason
    (low,) = report.pasted.low
    assert (low.kind, low.benign) == ("one-pixel paste shift", True)
    assert low.margin == pytest.approx(0.001, abs=1e-4)
    assert low.iou < 0.97


def test_a_paste_shift_does_not_excuse_other_pixels() -> None:
    candidate = pasted(discs(RIGHT))
    assert candidate.full_masks is not None
    candidate.full_masks[0, 90:110] = 0
    report = compare([discs(LEFT)], [candidate])
    assert not report
    (low,) = report.pasted.low
    assert (low.kind, low.benign) == ("unexplained", False)


def test_a_shift_without_a_box_near_an_integer_is_a_defect() -> None:
    box = (99.5, 50.5, 127.5, 150.5)
    candidate = pasted(discs(box))
    assert candidate.full_masks is not None
    moved = dataclasses.replace(candidate, full_masks=np.roll(candidate.full_masks, 1, axis=2))
    assert compare([discs(box)], [candidate])
    assert not compare([discs(box)], [moved])


def test_pixels_at_the_threshold_are_explained() -> None:
    """Soft values all about 0.5: either decision is right, wherever it falls."""
    grain = np.where(np.indices((28, 28)).sum(axis=0) % 2, 0.5004, 0.4996).astype(np.float32)
    first = dataclasses.replace(discs((100.3, 50.2, 180.6, 160.4)), roi_masks=grain[None])
    second = dataclasses.replace(first, roi_masks=1 - grain[None])
    report = compare([first], [pasted(second)])
    assert report
    # All but the rim, where the border of zeros pulls the values clear of the threshold.
    assert masks_of(report) == 0
    (low,) = report.pasted.low
    assert (low.kind, low.benign, low.margin) == ("soft values at the threshold", True, None)
    coarse = dataclasses.replace(FP32, roi_masks=1e-4)
    assert not compare([first], [pasted(second)], tolerances=coarse)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_not_finite_never_passes(value: float) -> None:
    candidate = pasted(SCENE)
    boxes = candidate.boxes.copy()
    boxes[0, 0] = value
    report = compare([SCENE], [dataclasses.replace(candidate, boxes=boxes)])
    assert not report
    assert any(item.kind == "not finite" for item in report.unmatched)
