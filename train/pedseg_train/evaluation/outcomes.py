"""Matches, false positives and false negatives at one score threshold, with their reasons.

The reasons are those of TIDE (Bolya, Foley, Hays, Hoffman: TIDE, A General Toolbox for Identifying
Object Detection Errors, ECCV 2020, https://arxiv.org/abs/2008.08115) at its thresholds, in a simple
form: detections below the score threshold are left out, and each error is counted without an
estimate of the AP that it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from .recording import Recording, measured_by

SCORE = 0.5
FOREGROUND = 0.5  # IoU from which a detection matches a person
BACKGROUND = 0.1  # IoU up to which a detection is on background
TOLERANCE = 1e-10  # COCOeval's own, for an IoU exactly at the threshold


class FalsePositive(StrEnum):
    """Why a detection is a false positive."""

    DUPLICATE = "duplicate"
    LOCALISATION = "localisation"
    CLASS = "class"
    CLASS_AND_LOCALISATION = "class and localisation"
    BACKGROUND = "background"


class FalseNegative(StrEnum):
    """Why a person was missed."""

    LOCALISATION = "localisation"
    CLASS = "class"
    LOW_SCORE = "low score"
    ENTIRELY = "entirely"


FALSE_POSITIVE_REASONS: Mapping[FalsePositive, str] = {
    FalsePositive.DUPLICATE: "a second detection of a person already found",
    FalsePositive.LOCALISATION: "on a person, but the overlap is only 0.1 to 0.5",
    FalsePositive.CLASS: "on something of another class",
    FalsePositive.CLASS_AND_LOCALISATION: "near something of another class, overlap 0.1 to 0.5",
    FalsePositive.BACKGROUND: "on background, overlap below 0.1",
}
FALSE_NEGATIVE_REASONS: Mapping[FalseNegative, str] = {
    FalseNegative.LOCALISATION: "a detection is there, but the overlap is only 0.1 to 0.5",
    FalseNegative.CLASS: "a detection is there, of another class",
    FalseNegative.LOW_SCORE: "a good detection is there, with a score below the threshold",
    FalseNegative.ENTIRELY: "no fitting detection, at any score",
}


class OperatingPoint(NamedTuple):
    """Precision and recall at one score threshold, at an overlap of 0.5.

    Attributes:
        score: the threshold, which is the score of the last detection kept.
        precision, recall, f1: in 0..1; `f1` is the harmonic mean of the two.
    """

    score: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class ShownDetection:
    """A detection of at least the score threshold.

    Attributes:
        annotation: the entry of `Recording.found`.
        person: the matched entry of `Recording.truth`; None for a false positive.
        overlap: IoU with that person, else the largest with any instance, in 0..1.
        reason: of a false positive; None for a match.
    """

    annotation: dict[str, Any]
    person: dict[str, Any] | None
    overlap: float
    reason: FalsePositive | None


@dataclass(frozen=True, slots=True)
class MissedPerson:
    """A false negative: a person without a matching detection.

    Attributes:
        annotation: the entry of `Recording.truth`.
        reason: why.
    """

    annotation: dict[str, Any]
    reason: FalseNegative


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """The matches and errors on one image.

    Detections on a crowd region count neither way and are in none of the lists.

    Attributes:
        image: its id.
        people: number of people, crowd regions not counted.
        shown: detections of at least the score threshold, best first.
        missed: people without a matching detection.
        scores: float64 [D] of all detections, those below the threshold too, best first.
        right: bool [D], whether each has a person of its own.
    """

    image: int
    people: int
    shown: tuple[ShownDetection, ...]
    missed: tuple[MissedPerson, ...]
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]

    @property
    def matched(self) -> list[ShownDetection]:
        """The true positives."""
        return [one for one in self.shown if one.person is not None]

    @property
    def false_positives(self) -> list[ShownDetection]:
        """The detections without a person of their own."""
        return [one for one in self.shown if one.person is None]


def find_outcomes(recording: Recording, kind: str, *, score: float = SCORE) -> list[ImageOutcome]:
    """Match the detections of at least `score`, and give a reason for every error.

    The matching is COCOeval's at an overlap of 0.5: best score first, each to the person of its
    class with the largest overlap that is still unmatched. Unlike AP, which takes the 100 best
    detections per image and class, it takes all of them.

    Args:
        recording: what a model found.
        kind: of the overlap, "bbox" or "segm".
        score: the score threshold.

    Returns:
        One outcome per image, in the order of `recording.images`.
    """
    return [
        _match_image(image["id"], measured_by(truth, kind), _by_score(found), kind, score)
        for image, (truth, found) in zip(recording.images, recording.by_image(), strict=True)
    ]


def best_operating_point(outcomes: Sequence[ImageOutcome]) -> OperatingPoint | None:
    """The score threshold with the best F1 at an overlap of 0.5; None without a true positive."""
    score = np.concatenate([one.scores for one in outcomes])
    order = np.argsort(-score, kind="stable")
    score = score[order]
    right = np.concatenate([one.right for one in outcomes])[order].cumsum()
    shown = np.arange(1, len(score) + 1)
    people = sum(one.people for one in outcomes)
    # A threshold keeps all detections of one score or none.
    last = np.append(score[1:] != score[:-1], True)[: len(score)]
    if not people or not len(right) or not right[-1]:
        return None
    f1 = np.where(last, 2 * right / (shown + people), 0)
    best = int(np.argmax(f1))
    return OperatingPoint(
        score=float(score[best]),
        precision=float(right[best] / shown[best]),
        recall=float(right[best] / people),
        f1=float(f1[best]),
    )


def _by_score(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Detections by descending score; all of them, where AP counts no more than 100 per class."""
    return sorted(found, key=lambda entry: -float(entry["score"]))


def _match_image(
    image: int,
    truth: list[dict[str, Any]],
    found: list[dict[str, Any]],
    kind: str,
    score: float,
) -> ImageOutcome:
    overlaps = _overlaps(found, truth, kind)
    same = _labels(found)[:, None] == _labels(truth)[None]
    crowd = np.array([bool(person["iscrowd"]) for person in truth], np.bool_)
    matched = _match(np.where(same, overlaps, -1.0), crowd)
    visible = sum(entry["score"] >= score for entry in found)  # the first ones: sorted by score
    shown, reasons = [], []
    for index in range(visible):
        person = matched[index]
        if person >= 0 and crowd[person]:
            continue
        if person >= 0:
            shown.append(
                ShownDetection(found[index], truth[person], float(overlaps[index, person]), None)
            )
        else:
            nearest, reason = _false_positive(overlaps[index], same[index], crowd)
            overlap = 0.0 if nearest is None else float(overlaps[index, nearest])
            shown.append(ShownDetection(found[index], None, overlap, reason))
            reasons.append((nearest, reason))
    taken = set(matched[:visible])
    missed = [
        MissedPerson(person, _false_negative(index, reasons, overlaps[visible:] * same[visible:]))
        for index, person in enumerate(truth)
        if index not in taken and not crowd[index]
    ]
    counts = [index for index, person in enumerate(matched) if person < 0 or not crowd[person]]
    return ImageOutcome(
        image,
        int((~crowd).sum()),
        tuple(shown),
        tuple(missed),
        scores=np.array([found[index]["score"] for index in counts], np.float64),
        right=np.array([matched[index] >= 0 for index in counts], np.bool_),
    )


def _match(overlaps: NDArray[np.float64], crowd: NDArray[np.bool_]) -> list[int]:
    """COCOeval's matching: for each detection the index of its person or crowd region, or -1.

    Args:
        overlaps: [D, G], best detection first; -1 where the classes differ.
        crowd: [G]; a region takes any number of detections, but only those without a person.
    """
    free = np.ones(len(crowd), np.bool_)
    matched = []
    for row in overlaps:
        person = -1
        for candidates in (free & ~crowd, crowd):
            possible = np.where(candidates, row, -1.0)
            if person < 0 and len(row) and possible.max() >= FOREGROUND - TOLERANCE:
                person = len(row) - 1 - int(np.argmax(possible[::-1]))  # the last of equals
        if person >= 0 and not crowd[person]:
            free[person] = False
        matched.append(person)
    return matched


def _false_positive(
    overlaps: NDArray[np.float64], same: NDArray[np.bool_], crowd: NDArray[np.bool_]
) -> tuple[int | None, FalsePositive]:
    """The nearest instance of an unmatched detection, if any, and the reason."""
    reasons = (
        (same, FOREGROUND - TOLERANCE, FalsePositive.DUPLICATE),
        (~same, FOREGROUND - TOLERANCE, FalsePositive.CLASS),
        (same, BACKGROUND, FalsePositive.LOCALISATION),
        (~same, BACKGROUND, FalsePositive.CLASS_AND_LOCALISATION),
    )
    for candidates, least, reason in reasons:
        possible = np.where(candidates & ~crowd, overlaps, -1.0)
        if len(possible) and possible.max() >= least:
            return int(np.argmax(possible)), reason
    return None, FalsePositive.BACKGROUND


def _false_negative(
    person: int,
    reasons: Sequence[tuple[int | None, FalsePositive]],
    below: NDArray[np.float64],
) -> FalseNegative:
    """Why a person was missed.

    Args:
        person: its index in the truth.
        reasons: nearest instance and reason of each of the image's false positives.
        below: overlaps [D, G] of the detections that are not shown, 0 where the classes differ.
    """
    mine = {reason for nearest, reason in reasons if nearest == person}
    if FalsePositive.LOCALISATION in mine:
        return FalseNegative.LOCALISATION
    if FalsePositive.CLASS in mine:
        return FalseNegative.CLASS
    if len(below) and below[:, person].max() >= FOREGROUND - TOLERANCE:
        return FalseNegative.LOW_SCORE
    return FalseNegative.ENTIRELY


def _overlaps(
    found: list[dict[str, Any]], truth: list[dict[str, Any]], kind: str
) -> NDArray[np.float64]:
    """Intersection over union [D, G]; over the detection's own area for a crowd region."""
    if not found or not truth:
        return np.zeros((len(found), len(truth)))
    if kind == "segm":
        sides = [[entry["segmentation"] for entry in entries] for entries in (found, truth)]
    else:
        sides = [[entry["bbox"] for entry in entries] for entries in (found, truth)]
    return np.asarray(coco_mask.iou(*sides, [int(person["iscrowd"]) for person in truth]))


def _labels(entries: list[dict[str, Any]]) -> NDArray[np.int64]:
    return np.array([entry["category_id"] for entry in entries], np.int64)
