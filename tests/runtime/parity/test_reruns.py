"""Detections that rounding in the RPN decides, and those that a rerun does not excuse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pedseg_runtime.detections import Detections
from pedseg_runtime.parity import ParityReport, Rerun, compare

PLAIN = [(20.0, 30.0, 60.0, 120.0, 0.9), (100.0, 30.0, 140.0, 120.0, 0.8)]
WEAK = (200.0, 40.0, 230.0, 110.0, 0.2)
NEAR = (203.0, 42.0, 236.0, 112.0, 0.3)  # of another proposal for the same person as WEAK


def found(*extra: tuple[float, ...], masks: float = 0.7) -> Detections:
    """Two plain people, and others as x1 y1 x2 y2 score, whose soft masks are `masks`."""
    rows = np.array([*PLAIN, *extra], np.float32)
    soft = np.full((len(rows), 28, 28), 0.7, np.float32)
    soft[len(PLAIN) :] = masks
    return Detections(
        boxes=rows[:, :4],
        labels=np.ones(len(rows), np.int64),
        scores=rows[:, 4],
        roi_masks=soft,
        image_size=(160, 240),
    )


class Reruns:
    """What the reference finds with noise, and how much of that was asked for."""

    def __init__(self, *answers: Detections) -> None:
        self.answers = answers
        self.asked: list[int] = []

    def __call__(self, position: int) -> Iterator[Rerun]:
        for number, answer in enumerate(self.answers, start=1):
            self.asked.append(position)
            yield number * 1e-5, answer


def judge(reference: Detections, candidate: Detections, *answers: Detections) -> ParityReport:
    return compare([reference], [candidate], reruns=Reruns(*answers))


def test_a_detection_that_the_reference_has_with_noise_is_a_benign_flip():
    report = judge(found(), found(WEAK), found(), found(WEAK))
    assert report, report.reason
    (flip,) = report.unmatched
    assert (flip.kind, flip.benign, flip.side, flip.index) == (
        "proposal flip",
        True,
        "candidate",
        2,
    )
    assert flip.noise_margin == pytest.approx(2e-5)
    assert report.to_dict()["unmatched"][0]["noise_margin"] == flip.noise_margin


def test_a_detection_that_the_reference_loses_with_noise_is_a_benign_flip():
    report = judge(found(WEAK), found(), found(WEAK), found())
    assert report, report.reason
    assert [(flip.kind, flip.side) for flip in report.unmatched] == [("proposal flip", "reference")]


def test_another_proposal_of_the_same_person_is_a_flip_of_both_sides():
    """They overlap enough to be matched, and differ in everything."""
    assert judge(found(WEAK), found(NEAR, masks=0.3)).counts.defects == 1
    report = judge(found(WEAK), found(NEAR, masks=0.3), found(NEAR, masks=0.3))
    assert report, report.reason
    assert {flip.side for flip in report.unmatched} == {"reference", "candidate"}
    assert report.counts.matched == 2


LOW = (10.0, 125.0, 40.0, 150.0, 0.2)


def test_several_flips_of_an_image_have_to_be_those_of_one_rerun():
    report = judge(found(WEAK), found(LOW), found(WEAK, LOW), found(LOW))
    assert report, report.reason
    assert [flip.noise_margin for flip in report.unmatched] == pytest.approx([2e-5, 2e-5])
    assert judge(found(WEAK), found(LOW), found(WEAK, LOW), found()).counts.defects == 2


@pytest.mark.parametrize(
    "again", [found(), found(WEAK), found(NEAR)], ids=["gone", "right", "same"]
)
def test_a_wrong_detection_is_not_excused_because_the_right_one_may_go(again: Detections):
    """It scores less than the right one, which could have suppressed it."""
    report = judge(found(NEAR), found(WEAK, masks=0.1), again)
    assert not report
    assert report.counts.defects == 1


@pytest.mark.parametrize(
    "again",
    [
        found(),
        found((*WEAK[:4], 0.21)),
        found((*WEAK[:2], 229.0, *WEAK[3:])),
        found(WEAK, masks=0.6),
    ],
    ids=["not there", "another score", "another box", "another mask"],
)
def test_what_the_reference_does_not_find_with_noise_stays_a_defect(again: Detections):
    report = judge(found(), found(WEAK), again)
    assert not report
    assert [flip.kind for flip in report.unmatched] == ["unexplained"]


@pytest.mark.parametrize("shift", [0.3, 0.6, 3.0])
def test_a_detection_that_only_moves_with_noise_is_not_gone(shift: float):
    moved = (WEAK[0] + shift, *WEAK[1:4], 0.19)
    assert judge(found(WEAK), found(), found(moved)).counts.defects == 1


@pytest.mark.parametrize("wrong", [{"masks": 0.71}, {}], ids=["mask", "score"])
def test_a_pair_at_one_box_is_never_excused(wrong: dict[str, float]):
    other = found(WEAK, **wrong) if wrong else found((*WEAK[:4], 0.21))
    reruns = Reruns(other)
    report = compare([found(WEAK)], [other], reruns=reruns)
    assert not report
    assert report.counts.defects == 1
    assert not reruns.asked


def test_an_image_that_agrees_is_not_run_again():
    reruns = Reruns(found(WEAK))
    assert compare([found(), found()], [found(), found(WEAK)], reruns=reruns)
    assert reruns.asked == [1]


def test_reruns_end_where_all_is_explained():
    reruns = Reruns(found(WEAK), found(), found())
    assert compare([found()], [found(WEAK)], reruns=reruns)
    assert reruns.asked == [0]


def test_many_differences_are_not_put_down_to_rounding():
    reruns = Reruns(found(WEAK))
    report = compare(3 * [found()], 3 * [found(WEAK)], reruns=reruns)
    assert report.counts.defects == 3
    assert not reruns.asked
