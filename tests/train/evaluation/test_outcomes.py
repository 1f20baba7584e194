"""Reasons of errors that can be told by eye, and a matching that is COCOeval's own."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pedseg_train.evaluation import Recording
from pedseg_train.evaluation.outcomes import (
    FALSE_NEGATIVE_REASONS,
    FALSE_POSITIVE_REASONS,
    FalseNegative,
    FalsePositive,
    find_outcomes,
)

SIZE = 200
PERSON = [20, 20, 40, 100]
SHIFTED = [40, 20, 40, 100]  # 20 of 60 columns are shared: an overlap of a third
FAR = [120, 20, 40, 100]
CAR = ("background", "person", "car")


def reasons(recording, score=0.5, kind="segm"):
    """Reasons of the false positives, then of the false negatives, of the only image."""
    (outcome,) = find_outcomes(recording, kind, score=score)
    return [one.reason for one in outcome.false_positives], [one.reason for one in outcome.missed]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_a_detection_on_the_spot_finds_its_person(scene, kind):
    recording = scene(([PERSON], [(PERSON, 0.9)]))
    (outcome,) = find_outcomes(recording, kind)
    assert (len(outcome.matched), outcome.false_positives, outcome.missed) == (1, [], ())
    assert outcome.matched[0].overlap == pytest.approx(1.0)


def test_a_second_detection_is_a_duplicate(scene):
    assert reasons(scene(([PERSON], [(PERSON, 0.9), (PERSON, 0.8)]))) == (
        [FalsePositive.DUPLICATE],
        [],
    )


def test_a_shifted_detection_is_badly_localised_and_so_is_the_miss(scene):
    recording = scene(([PERSON], [(SHIFTED, 0.9)]))
    assert reasons(recording) == ([FalsePositive.LOCALISATION], [FalseNegative.LOCALISATION])


def test_a_detection_of_nobody_is_background_and_its_neighbour_missed_entirely(scene):
    recording = scene(([PERSON], [(FAR, 0.9)]))
    assert reasons(recording) == ([FalsePositive.BACKGROUND], [FalseNegative.ENTIRELY])


def test_a_good_detection_below_the_score_is_told_from_none(scene):
    recording = scene(([PERSON, FAR], [(PERSON, 0.4)]))
    assert reasons(recording) == ([], [FalseNegative.LOW_SCORE, FalseNegative.ENTIRELY])
    assert reasons(recording, score=0.3) == ([], [FalseNegative.ENTIRELY])


def test_a_detection_of_exactly_the_score_is_shown(scene):
    assert reasons(scene(([PERSON], [(PERSON, 0.5)]))) == ([], [])


def test_another_class_on_the_spot_is_named(scene):
    recording = scene(([PERSON], [(PERSON, 0.9, 2)]), class_names=CAR)
    assert reasons(recording) == ([FalsePositive.CLASS], [FalseNegative.CLASS])


def test_another_class_nearby_explains_the_alarm_but_not_the_miss(scene):
    recording = scene(([PERSON], [(SHIFTED, 0.9, 2)]), class_names=CAR)
    assert reasons(recording) == ([FalsePositive.CLASS_AND_LOCALISATION], [FalseNegative.ENTIRELY])


def test_a_crowd_region_asks_for_nothing_and_blames_nobody(scene):
    recording = scene(([(PERSON, 1, 1)], [(PERSON, 0.9), (SHIFTED, 0.8), (FAR, 0.7)]))
    (outcome,) = find_outcomes(recording, "segm")
    assert outcome.people == 0
    assert [one.reason for one in outcome.shown] == [FalsePositive.BACKGROUND]  # half in is in


def test_the_better_score_takes_the_person_even_with_the_smaller_overlap(scene):
    near = [24, 20, 40, 100]
    (outcome,) = find_outcomes(scene(([PERSON], [(PERSON, 0.6), (near, 0.9)])), "segm")
    assert [one.annotation["score"] for one in outcome.matched] == [0.9]
    assert [one.reason for one in outcome.false_positives] == [FalsePositive.DUPLICATE]


def test_every_reason_has_a_meaning():
    assert list(FALSE_POSITIVE_REASONS) == list(FalsePositive)
    assert list(FALSE_NEGATIVE_REASONS) == list(FalseNegative)


@st.composite
def recordings(draw) -> Recording:
    """Crowded images of up to three classes, with crowd regions and overlaps of every size."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images, classes = draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def annotations(most, **more):
        for image in range(images):
            for _ in range(random.integers(0, most)):
                box = [*(random.integers(0, 6, 2) * 10.0), 40.0, 60.0 + 10 * random.integers(0, 3)]
                (rle,) = coco_mask.frPyObjects(np.array([box]), SIZE, SIZE)
                yield {
                    "image_id": image, "category_id": int(random.integers(1, classes + 1)),
                    "bbox": box, "segmentation": rle, "area": box[2] * box[3],
                    "mask_area": box[2] * box[3],
                    **{name: value() for name, value in more.items()},
                }  # fmt: skip

    truth = list(annotations(5, iscrowd=lambda: int(random.random() < 0.2)))
    found = list(annotations(8, iscrowd=lambda: 0, score=lambda: float(random.random())))
    sizes = [{"id": image, "height": SIZE, "width": SIZE} for image in range(images)]
    names = ("background", "person", "car", "dog")[: classes + 1]
    return Recording(sizes, truth, found, names)


@given(recordings(), st.sampled_from(["bbox", "segm"]), st.sampled_from([0.0, 0.5]))
def test_the_matching_is_cocoevals(recording, kind, score):
    evaluation = recording.match(kind, breakdown=False)
    expected = Counter()
    for one in filter(None, evaluation.evalImgs):
        for value, matched, ignored in zip(
            one["dtScores"], one["dtMatches"][0], one["dtIgnore"][0], strict=True
        ):
            if value >= score and not ignored:
                expected[(one["image_id"], bool(matched))] += 1
    found = Counter(
        (outcome.image, one.person is not None)
        for outcome in find_outcomes(recording, kind, score=score)
        for one in outcome.shown
    )
    assert found == expected


@given(recordings(), st.sampled_from([0.0, 0.5]))
def test_nobody_is_counted_twice(recording, score):
    for outcome in find_outcomes(recording, "segm", score=score):
        assert len(outcome.matched) + len(outcome.missed) == outcome.people
        assert len(outcome.matched) + len(outcome.false_positives) == len(outcome.shown)
        people = [id(one.person) for one in outcome.matched] + [
            id(one.annotation) for one in outcome.missed
        ]
        assert len(set(people)) == len(people)
