"""Detections matched with the truth once, and the AP of any mixture of their pictures.

COCOeval matches picture by picture and then counts over all pictures. The counting is repeated here
with every picture counted as often as a draw has it, which gives the AP that COCOeval would find on
a dataset with those copies in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evaluation import Recording

RECALLS = np.linspace(0.0, 1.0, 101)  # where COCO reads the precision


@dataclass(frozen=True, slots=True)
class CategoryMatches:
    """The detections of one category on all pictures, best score first.

    Attributes:
        image: int64 [D], the position of each detection's picture.
        is_right, is_wrong: float64 [T, D], 1 where a detection counts as found or as a false alarm
            at each of COCO's T overlaps; both 0 where it is left out (matched to a crowd).
        people: int64 [I], how many there are to be found on each picture.
    """

    image: NDArray[np.int64]
    is_right: NDArray[np.float64]
    is_wrong: NDArray[np.float64]
    people: NDArray[np.int64]

    def precision(self, copies: NDArray[np.int64]) -> NDArray[np.float64]:
        """COCO's interpolated precision [T, 101], every picture counted `copies` [I] times."""
        weight = copies[self.image]
        right = np.cumsum(self.is_right * weight, axis=1)
        wrong = np.cumsum(self.is_wrong * weight, axis=1)
        recall = right / (copies @ self.people)
        precision = right / (wrong + right + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.pad(best, ((0, 0), (0, 1)))  # a recall that is never reached has precision 0
        at = [np.searchsorted(row, RECALLS, side="left") for row in recall]
        return np.take_along_axis(best, np.stack(at), axis=1)


@dataclass(frozen=True, slots=True)
class Matches:
    """One model's detections on I pictures, matched with the truth."""

    categories: tuple[CategoryMatches, ...]

    @classmethod
    def of(cls, recording: Recording, kind: str) -> Matches:
        """Match a recording by `kind`, "bbox" or "segm", as COCOeval does."""
        evaluation = recording.match(kind, breakdown=False)
        images = len(evaluation.params.imgIds)
        per_image = evaluation.evalImgs  # category by category, each in the order of imgIds
        return cls(
            tuple(
                _category(per_image[start : start + images])
                for start in range(0, len(per_image), images)
            )
        )

    def average_precision(self, copies: NDArray[np.int64]) -> float:
        """AP in 0..1 with every picture counted `copies` [I] times; NaN if nobody is on them."""
        present = [one.precision(copies) for one in self.categories if copies @ one.people]
        return float(np.mean(np.stack(present, axis=-1).ravel())) if present else math.nan


def _category(per_image: Sequence[dict[str, Any] | None]) -> CategoryMatches:
    """COCOeval's matches of one category, by picture; None where it has nothing to match."""
    known = [(index, one) for index, one in enumerate(per_image) if one is not None]
    people = np.zeros(len(per_image), np.int64)
    for index, one in known:
        people[index] = np.count_nonzero(one["gtIgnore"] == 0)
    if not known:
        nothing = np.zeros((1, 0))
        return CategoryMatches(np.zeros(0, np.int64), nothing, nothing, people)
    image = np.repeat([index for index, _ in known], [len(one["dtIds"]) for _, one in known])
    score = np.concatenate([one["dtScores"] for _, one in known])
    matched = np.concatenate([one["dtMatches"] for _, one in known], axis=1) > 0
    counts = ~np.concatenate([one["dtIgnore"] for _, one in known], axis=1).astype(bool)
    order = np.argsort(-score, kind="stable")  # ties stay in the order of the pictures
    return CategoryMatches(
        image=image[order],
        is_right=(matched & counts)[:, order].astype(np.float64),
        is_wrong=(~matched & counts)[:, order].astype(np.float64),
        people=people,
    )
