"""What became of every detection and of every person at one score, and why.

The reasons are those of TIDE (Bolya, Foley, Hays, Hoffman: TIDE, A General Toolbox for Identifying
Object Detection Errors, ECCV 2020, https://arxiv.org/abs/2008.08115) at its thresholds, in a simple
form: detections below the score that a user would show are left out, each error is counted, and
what AP it costs is not estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from .recording import Recording

SCORE = 0.5
FOREGROUND = 0.5  # from this overlap on a detection is of the person
BACKGROUND = 0.1  # up to this overlap it is of nobody
TINY = 1e-10  # COCOeval's own allowance for an overlap that is exactly at its limit
MOST_DETECTIONS = 100  # per picture and class, as COCO counts


class FalseAlarm(StrEnum):
    """Why a detection found nobody new."""

    DUPLICATE = "duplicate"
    LOCALISATION = "localisation"
    CLASS = "class"
    CLASS_AND_LOCALISATION = "class and localisation"
    BACKGROUND = "background"


class Miss(StrEnum):
    """Why a person was not found."""

    LOCALISATION = "localisation"
    CLASS = "class"
    LOW_SCORE = "low score"
    ENTIRELY = "entirely"


FALSE_ALARMS: Mapping[FalseAlarm, str] = {
    FalseAlarm.DUPLICATE: "a second detection of somebody who was found already",
    FalseAlarm.LOCALISATION: "on somebody, but the overlap is only 0.1 to 0.5",
    FalseAlarm.CLASS: "on something of another class",
    FalseAlarm.CLASS_AND_LOCALISATION: "near something of another class, overlap 0.1 to 0.5",
    FalseAlarm.BACKGROUND: "on nobody at all, overlap below 0.1",
}
MISSES: Mapping[Miss, str] = {
    Miss.LOCALISATION: "a detection is there, but the overlap is only 0.1 to 0.5",
    Miss.CLASS: "a detection is there, of another class",
    Miss.LOW_SCORE: "a good detection is there, with a score below the threshold",
    Miss.ENTIRELY: "nothing that fits is there, at any score",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A detection of at least the score.

    Attributes:
        annotation: the entry of `Recording.found`.
        person: the entry of `Recording.truth` that it found; None for a false alarm.
        overlap: with that person, or the largest with anything, in 0..1.
        reason: of a false alarm; None for a detection that found somebody.
    """

    annotation: dict[str, Any]
    person: dict[str, Any] | None
    overlap: float
    reason: FalseAlarm | None


@dataclass(frozen=True, slots=True)
class Missed:
    """A person whom no detection of at least the score found.

    Attributes:
        annotation: the entry of `Recording.truth`.
        reason: why.
    """

    annotation: dict[str, Any]
    reason: Miss


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """What became of the detections and the people of one picture.

    Detections that lie on a crowd region are neither right nor wrong, and in none of the lists.

    Attributes:
        image: its id.
        people: how many are to be found.
        shown: detections of at least the score, best first.
        missed: people whom none of them found.
    """

    image: int
    people: int
    shown: tuple[Shown, ...]
    missed: tuple[Missed, ...]

    @property
    def matched(self) -> list[Shown]:
        """The detections that found somebody."""
        return [one for one in self.shown if one.person is not None]

    @property
    def false_alarms(self) -> list[Shown]:
        """The detections that found nobody new."""
        return [one for one in self.shown if one.person is None]


def judge(recording: Recording, kind: str, *, score: float = SCORE) -> list[ImageOutcome]:
    """Match the detections that a user would see, and give a reason for every error.

    The matching is COCOeval's at an overlap of 0.5: best score first, each to the person of its
    class with the largest overlap who is still free.

    Args:
        recording: what a model found.
        kind: what the overlap is of, "bbox" or "segm".
        score: detections of at least this score are shown.

    Returns:
        One outcome per picture, in the order of `recording.images`.
    """
    return [
        _judge_image(image["id"], truth, _best(found), kind, score)
        for image, (truth, found) in zip(recording.images, recording.by_image(), strict=True)
    ]


def _best(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Best score first, no more per class than COCO counts."""
    kept, counts = [], dict.fromkeys((one["category_id"] for one in found), 0)
    for one in sorted(found, key=lambda entry: -float(entry["score"])):
        counts[one["category_id"]] += 1
        if counts[one["category_id"]] <= MOST_DETECTIONS:
            kept.append(one)
    return kept


def _judge_image(
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
    for place in range(visible):
        person = matched[place]
        if person >= 0 and crowd[person]:
            continue
        if person >= 0:
            shown.append(Shown(found[place], truth[person], float(overlaps[place, person]), None))
        else:
            nearest, reason = _false_alarm(overlaps[place], same[place], crowd)
            overlap = 0.0 if nearest is None else float(overlaps[place, nearest])
            shown.append(Shown(found[place], None, overlap, reason))
            reasons.append((nearest, reason))
    taken = set(matched[:visible])
    missed = [
        Missed(person, _miss(place, reasons, overlaps[visible:] * same[visible:]))
        for place, person in enumerate(truth)
        if place not in taken and not crowd[place]
    ]
    return ImageOutcome(image, int((~crowd).sum()), tuple(shown), tuple(missed))


def _match(overlaps: NDArray[np.float64], crowd: NDArray[np.bool_]) -> list[int]:
    """COCOeval's matching: for each detection the place of its person or crowd region, or -1.

    Args:
        overlaps: [D, G], best detection first; -1 where the classes differ.
        crowd: [G]; a region takes any number of detections, but only those that find nobody.
    """
    free = np.ones(len(crowd), np.bool_)
    matched = []
    for row in overlaps:
        person = -1
        for candidates in (free & ~crowd, crowd):
            possible = np.where(candidates, row, -1.0)
            if person < 0 and len(row) and possible.max() >= FOREGROUND - TINY:
                person = len(row) - 1 - int(np.argmax(possible[::-1]))  # the last of equals
        if person >= 0 and not crowd[person]:
            free[person] = False
        matched.append(person)
    return matched


def _false_alarm(
    overlaps: NDArray[np.float64], same: NDArray[np.bool_], crowd: NDArray[np.bool_]
) -> tuple[int | None, FalseAlarm]:
    """Whom a detection that found nobody lies nearest to, and why it is wrong."""
    reasons = (
        (same, FOREGROUND - TINY, FalseAlarm.DUPLICATE),
        (~same, FOREGROUND - TINY, FalseAlarm.CLASS),
        (same, BACKGROUND, FalseAlarm.LOCALISATION),
        (~same, BACKGROUND, FalseAlarm.CLASS_AND_LOCALISATION),
    )
    for candidates, least, reason in reasons:
        possible = np.where(candidates & ~crowd, overlaps, -1.0)
        if len(possible) and possible.max() >= least:
            return int(np.argmax(possible)), reason
    return None, FalseAlarm.BACKGROUND


def _miss(
    person: int,
    reasons: Sequence[tuple[int | None, FalseAlarm]],
    below: NDArray[np.float64],
) -> Miss:
    """Why the person at a place of the truth was not found.

    Args:
        person: the place.
        reasons: of the picture's false alarms: who is nearest, and why.
        below: overlaps [D, G] of the detections that are not shown, 0 where the classes differ.
    """
    mine = {reason for nearest, reason in reasons if nearest == person}
    if FalseAlarm.LOCALISATION in mine:
        return Miss.LOCALISATION
    if FalseAlarm.CLASS in mine:
        return Miss.CLASS
    if len(below) and below[:, person].max() >= FOREGROUND - TINY:
        return Miss.LOW_SCORE
    return Miss.ENTIRELY


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
