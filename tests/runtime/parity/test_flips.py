"""Detections that only one side has: every benign flip and its defect twin, made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pedseg_runtime.detections import Detections
from pedseg_runtime.masks import paste_mask
from pedseg_runtime.parity import FP32, compare
from pedseg_runtime.parity.matching import box_iou, match
from pedseg_runtime.parity.overlap import paste_shift_margin, pasted_iou

SIZE = (400, 2000)


def detections(*rows: tuple[float, float, float, float], label: int = 1) -> Detections:
    """Rows of x, y, width, score; boxes are 100 px high, masks are discs that depend on x."""
    table = np.array(rows, np.float64).reshape(-1, 4)
    x, y, width, score = table.T
    down, across = np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 28), indexing="ij")
    radius = np.hypot(down, across - 0.3 * np.sin(x / 10)[:, None, None])
    return Detections(
        boxes=np.stack([x, y, x + width, y + 100], axis=1).astype(np.float32),
        labels=np.full(len(table), label, np.int64),
        scores=score.astype(np.float32),
        roi_masks=(1 / (1 + np.exp(8 * (radius - 0.8)))).astype(np.float32),
        image_size=SIZE,
    )


# Twenty agreeing detections, so that a verdict does not rest on flips alone, and their noise.
CROWD = [(80.0 * i, 250.0, 50.0, 0.95 - 0.01 * i) for i in range(20)]
NOISE = 8e-6


def judge(reference, candidate, **settings):
    noisy = [(*row[:3], row[3] + NOISE) for row in CROWD]
    return compare([detections(*reference, *CROWD)], [detections(*candidate, *noisy)], **settings)


def kinds(report):
    return [(item.side, item.kind, item.benign) for item in report.unmatched]


def test_a_score_at_the_threshold_is_a_benign_flip():
    report = judge([(0, 0, 50, 0.05005)], [])
    assert report
    assert kinds(report) == [("reference", "score threshold", True)]
    assert report.unmatched[0].score_margin == pytest.approx(5e-5, rel=1e-3)
    assert report.unmatched[0].label == "person"
    assert "1 benign flip" in report.reason


def test_a_score_off_the_threshold_is_a_defect():
    report = judge([], [(0, 0, 50, 0.0503)])
    assert not report
    assert kinds(report) == [("candidate", "unexplained", False)]


# Equal boxes of width 150, shifted by 50: IoU 100 / 200 = 0.5 exactly.
def test_an_overlap_at_the_nms_threshold_is_a_benign_flip():
    report = judge([(0, 0, 150, 0.9), (50.05, 0, 150, 0.6)], [(0, 0, 150, 0.9)])
    assert report
    assert kinds(report) == [("reference", "nms threshold", True)]
    assert report.unmatched[0].nms_margin < FP32.iou


def test_an_overlap_off_the_nms_threshold_is_a_defect():
    report = judge([(0, 0, 150, 0.9), (55, 0, 150, 0.6)], [(0, 0, 150, 0.9)])
    assert not report
    assert kinds(report) == [("reference", "unexplained", False)]
    assert report.unmatched[0].nms_margin == pytest.approx(0.5 - 95 / 205, abs=1e-6)


def test_a_lower_score_cannot_suppress():
    report = judge([(0, 0, 150, 0.6), (50.05, 0, 150, 0.9)], [(0, 0, 150, 0.6)])
    assert not report


def test_another_label_cannot_suppress():
    rival = detections((50.05, 0, 150, 0.95), label=0)
    report = compare([detections((0, 0, 150, 0.9))], [rival])
    assert not report
    assert [item.nms_margin for item in report.unmatched] == [None, None]


def test_a_swap_of_tied_near_duplicates_is_a_benign_flip():
    report = judge([(0, 0, 50, 0.9)], [(5, 0, 50, 0.90005)])
    assert report
    assert kinds(report) == [("reference", "nms tie", True), ("candidate", "nms tie", True)]
    assert report.counts.matched == len(CROWD)


def test_a_swap_without_a_tie_is_a_defect_of_the_fields():
    report = judge([(0, 0, 50, 0.9)], [(5, 0, 50, 0.91)])
    assert not report
    assert not report.unmatched
    assert [field.within for field in report.fields] == [False, False, False]
    assert report.counts.defects == 1


def test_a_swap_with_scores_apart_by_more_than_the_noise_is_a_defect_of_the_boxes():
    report = judge([(0, 0, 50, 0.9)], [(5, 0, 50, 0.90009)])
    assert not report
    assert [field.within for field in report.fields] == [True, False, False]


def test_a_displaced_box_with_its_own_mask_and_score_is_no_tie():
    """A swap shows another proposal's mask; a wrong coordinate keeps the right one."""
    reference = detections((0, 0, 50, 0.9), *CROWD)
    boxes = reference.boxes + np.eye(21, dtype=np.float32)[0][:, None] * 5
    noisy = reference.scores + np.float32(NOISE)
    report = compare([reference], [dataclasses.replace(reference, boxes=boxes, scores=noisy)])
    assert not report
    assert report.counts.benign_flips == 0


def test_a_box_just_beyond_its_limit_is_no_tie():
    report = judge([(0, 0, 50, 0.9)], [(0.06, 0, 50, 0.90001)])
    assert not report
    assert report.reason.startswith("boxes differ by up to 0.06 pixels")


def test_ties_are_not_believed_where_they_are_the_rule():
    """One tie on twenty agreeing pairs is believed; three are not, and show as displaced."""
    ties = [(300.0 * i, 0, 50, 0.9 - 0.1 * i) for i in range(3)]
    swapped = [(x + 5, y, width, score + NOISE) for x, y, width, score in ties]
    assert judge(ties[:1], swapped[:1])
    report = judge(ties, swapped)
    assert not report
    assert not report.unmatched
    assert report.counts.defects == 3


def test_what_a_benign_flip_suppresses_is_benign_too():
    """The candidate lost A to C at the NMS threshold, so A no longer suppresses B."""
    c, a, b = (0, 0, 150, 0.9), (50.05, 0, 150, 0.8), (90, 0, 150, 0.7)
    report = judge([c, a], [c, b])
    assert report
    assert kinds(report) == [
        ("reference", "nms threshold", True),
        ("candidate", "nms suppression", True),
    ]


def test_what_a_defect_suppresses_does_not_save_the_verdict():
    c, a, b = (0, 0, 150, 0.9), (60, 0, 150, 0.8), (130, 0, 150, 0.7)
    report = judge([c, a], [c, b], nms_threshold=0.3)
    assert not report


def test_a_tie_at_the_cap_is_a_benign_flip():
    report = judge([(0, 0, 50, 0.4)], [(300, 0, 50, 0.40005)], detections_per_image=21)
    assert report
    assert kinds(report) == [
        ("reference", "detection cap", True),
        ("candidate", "detection cap", True),
    ]
    assert report.unmatched[1].rank_margin == pytest.approx(5e-5, rel=1e-2)


def test_a_clear_rank_at_the_cap_is_a_defect():
    report = judge([(0, 0, 50, 0.4)], [(300, 0, 50, 0.6)], detections_per_image=21)
    assert kinds(report) == [
        ("reference", "detection cap", True),
        ("candidate", "unexplained", False),
    ]
    assert not report


def test_a_tie_below_the_cap_is_a_defect():
    report = judge([(0, 0, 50, 0.4)], [(300, 0, 50, 0.40005)])
    assert not report
    assert report.unmatched[0].rank_margin is None


def test_flips_alone_compare_nothing():
    report = compare([detections((0, 0, 50, 0.05001))], [detections()])
    assert not report
    assert report.reason == "nothing was compared"


def test_near_duplicates_do_not_take_each_others_partner():
    """A and B overlap at 0.49 and more; the partner is the one that agrees, not the first."""
    reference = detections(
        (0, 0, 100, 0.9), (34.3, 0, 100, 0.8), (200, 0, 50, 0.7), (200, 0, 50, 0.6)
    )
    order = [3, 1, 2, 0]
    assert compare([reference], [reference[order]])
    matching = match(reference, reference[order], FP32)
    assert matching.tolist() == [[0, 3], [1, 1], [2, 2], [3, 0]]


def test_box_iou_by_hand():
    first = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    second = np.array([[1, 1, 3, 3], [5, 5, 6, 6], [0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    assert box_iou(first, second).tolist() == [[pytest.approx(1 / 7), 0, 1, 0], [0, 0, 0, 0]]
    assert box_iou(first, second[:0]).shape == (2, 0)


def test_a_one_pixel_paste_shift_is_benign_and_beside_the_verdict():
    # A box of 28 px grows by 30/28: one pixel on each side, so its left edge lands on 99 + 0.001.
    reference = detections((100.001, 0, 28, 0.9))
    candidate = detections((99.999, 0, 28, 0.9))
    report = compare([reference], [candidate])
    assert report
    assert report.pasted.min_iou < 0.99
    (low,) = report.pasted.low
    assert (low.kind, low.benign) == ("one-pixel paste shift", True)
    assert low.margin == pytest.approx(0.001, abs=1e-4)


def test_a_low_pasted_iou_without_a_shift_says_so():
    soft = detections((100.3, 0, 28.0, 0.9))
    grain = np.where(np.indices((28, 28)).sum(axis=0) % 2, 0.5004, 0.4996).astype(np.float32)
    first = _with_mask(soft, grain)
    second = _with_mask(soft, 1 - grain)
    report = compare([first], [second])
    assert report
    (low,) = report.pasted.low
    assert (low.kind, low.benign, low.margin) == ("soft values at the threshold", False, None)


def test_pasted_iou_of_masks_apart_together_and_empty():
    ones = np.ones((28, 28), np.float32)
    here = paste_mask(ones, np.array([10, 10, 40, 40], np.float32), (100, 100))
    there = paste_mask(ones, np.array([60, 60, 90, 90], np.float32), (100, 100))
    outside = paste_mask(ones, np.array([200, 200, 230, 230], np.float32), (100, 100))
    assert pasted_iou(here, here) == 1.0
    assert pasted_iou(here, there) == 0.0
    assert pasted_iou(here, outside) == 0.0
    assert pasted_iou(outside, outside) == 1.0


def test_the_paste_shift_margin_is_of_the_coordinate_that_moved():
    box = np.array([100.25, 50.5, 128.25, 78.5], np.float32)
    assert paste_shift_margin(box, box, 28) is None
    assert paste_shift_margin(box, box + np.float32(0.5), 28) == pytest.approx(0.5)
    moved = box + np.array([1, 0, 1, 0], np.float32)
    assert paste_shift_margin(box, moved, 28) == pytest.approx(0.25)


def _with_mask(side: Detections, mask: np.ndarray) -> Detections:
    return dataclasses.replace(side, roi_masks=mask[None])
