"""Soft masks that differ because RoIAlign jumps, and those that differ for a worse reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pedseg_runtime.detections import Detections
from pedseg_runtime.parity import compare

# 349x291 at 192 pixels: columns 192 / 291, rows 230 / 349, cells of 4: the edge is at column 48
# and, padded to 256 rows, at row 64. A point of a widened box at x lies there if x is 291 / 192 * 4
# times (48 - (k + 0.5) / 28) for a k of 0..27.
SIZE = (349, 291)
RESIZED = {"min_size": 192, "max_size": 320}
ON_THE_EDGE = float(291 / 192 * 4 * (48 - 11.5 / 28))
PLAIN = [20.0, 30.0, 120.0, 200.0]


def found(*boxes, shift: float = 0.0, masks: float = 0.3, scores: float = 0.9) -> Detections:
    """One plain box, and others moved by `shift` whose masks are `masks` everywhere."""
    table = np.array([PLAIN, *boxes], np.float64)
    table[1:, [0, 2]] += shift
    values = np.full((len(table), 28, 28), masks, np.float32)
    values[0] = 0.5
    return Detections(
        boxes=table.astype(np.float32),
        labels=np.ones(len(table), np.int64),
        scores=np.array([0.8, *[scores] * len(boxes)], np.float32),
        roi_masks=values,
        image_size=SIZE,
    )


def judge(box, *, shift: float = 6e-5, scores: float = 0.9, **settings):
    reference, candidate = found(box), found(box, shift=shift, masks=0.45, scores=scores)
    return compare([reference], [candidate], **settings)


SLIVER = [ON_THE_EDGE - 3e-5, 80.0, 290.8, 130.0]


def test_a_sampling_point_on_the_edge_is_a_benign_flip():
    report = judge(SLIVER, **RESIZED)
    assert report, report.reason
    (flip,) = report.unmatched
    assert (flip.kind, flip.benign, flip.side, flip.index) == (
        "sampling edge",
        True,
        "reference",
        1,
    )
    assert flip.edge_margin == pytest.approx(3e-5, abs=2e-5)
    assert report.counts.matched == 2
    assert [field.count for field in report.fields] == [2, 2, 1]
    assert report.pasted.count == 1
    assert report.counts.benign_flips == 1
    assert report.counts.defects == 0
    assert report.settings.min_size == 192


def test_where_the_sizes_are_not_known_nothing_is_put_down_to_it():
    report = judge(SLIVER)
    assert not report
    assert report.counts.defects == 1
    assert not report.unmatched


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ([ON_THE_EDGE - 0.05, 80.0, 290.8, 130.0], "no point is near the edge"),
        ([ON_THE_EDGE - 100, 80.0, ON_THE_EDGE - 98, 130.0], "a sliver in the middle"),
        ([ON_THE_EDGE - 7, 80.0, 290.8, 130.0], "wider than a cell"),
    ],
)
def test_other_masks_that_differ_are_defects(box, why):
    report = judge(box, **RESIZED)
    assert not report, why
    assert report.counts.defects == 1


@pytest.mark.parametrize("wrong", [{"scores": 0.91}, {"shift": 0.2}], ids=["score", "box"])
def test_it_excuses_neither_scores_nor_boxes(wrong):
    report = judge(SLIVER, **wrong, **RESIZED)
    assert not report
    assert (report.counts.defects, report.counts.benign_flips) == (1, 0)


def test_a_difference_along_the_other_axis_is_no_excuse():
    lower = [*SLIVER[:3], SLIVER[3] + 0.045]
    near = [ON_THE_EDGE - 0.03, *lower[1:]]
    reference, candidate = found([*near[:3], SLIVER[3]]), found(near, masks=0.45)
    assert compare([reference], [candidate], **RESIZED).counts.defects == 1


def test_a_lone_sliver_is_compared_by_its_score_and_box():
    alone = [
        dataclasses.replace(
            side,
            boxes=side.boxes[1:],
            labels=side.labels[1:],
            scores=side.scores[1:],
            roi_masks=side.roi_masks[1:],
        )
        for side in (found(SLIVER), found(SLIVER, masks=0.45))
    ]
    report = compare(alone[:1], alone[1:], **RESIZED)
    assert report, report.reason
    assert report.counts.matched == 1


def test_rows_count_as_columns_do():
    low = float(349 / 230 * 4 * (64 - 20.5 / 28))
    assert low < 349 * 64 * 4 / 230
    box = [80.0, low, 130.0, low + 3.0]
    reference, candidate = found(box), found(box, masks=0.45)
    report = compare([reference], [candidate], **RESIZED)
    assert [flip.kind for flip in report.unmatched] == ["sampling edge"]
