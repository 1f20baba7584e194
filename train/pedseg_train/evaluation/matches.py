"""Detections matched with the ground truth once, and the AP of any resample of the images.

COCOeval matches image by image and then accumulates over all images. The accumulation is repeated
here with a count per image, which gives the AP that COCOeval would find on a dataset with so many
copies of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from .recording import Recording

RECALLS = np.linspace(0.0, 1.0, 101)  # where COCO reads the precision
OVERLAPS = np.linspace(0.5, 0.95, 10)  # COCO's
AT50, AT75 = 0, 5


@dataclass(frozen=True, slots=True)
class CategoryMatches:
    """The detections of one category on all images, best score first.

    Attributes:
        image: int64 [D], the position of each detection's image.
        score: float64 [D], descending.
        true_positive, false_positive: float64 [T, D], 1 or 0 at each of COCO's T overlaps; both 0
            for a detection that is matched to a crowd region.
        people: int64 [I], number of people on each image.
    """

    image: NDArray[np.int64]
    score: NDArray[np.float64]
    true_positive: NDArray[np.float64]
    false_positive: NDArray[np.float64]
    people: NDArray[np.int64]

    def precision(self, copies: NDArray[np.int64]) -> NDArray[np.float64]:
        """COCO's interpolated precision [T, 101], every image counted `copies` [I] times."""
        weight = copies[self.image]
        right = np.cumsum(self.true_positive * weight, axis=1)
        wrong = np.cumsum(self.false_positive * weight, axis=1)
        recall = right / (copies @ self.people)
        precision = right / (wrong + right + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.pad(best, ((0, 0), (0, 1)))  # a recall that is never reached has precision 0
        at = [np.searchsorted(row, RECALLS, side="left") for row in recall]
        return np.take_along_axis(best, np.stack(at), axis=1)

    def split_by_image(self) -> list[CategoryMatches]:
        """The matches of every image, each as a dataset of one."""
        order = np.argsort(self.image, kind="stable")  # best score first within an image
        ends = np.cumsum(np.bincount(self.image, minlength=len(self.people)))[:-1]
        return [
            CategoryMatches(
                image=np.zeros(len(one), np.int64),
                score=self.score[one],
                true_positive=self.true_positive[:, one],
                false_positive=self.false_positive[:, one],
                people=self.people[[place]],
            )
            for place, one in enumerate(np.split(order, ends))
        ]


@dataclass(frozen=True, slots=True)
class Matches:
    """One model's detections on I images, matched with the truth."""

    categories: tuple[CategoryMatches, ...]

    @classmethod
    def of(cls, recording: Recording, kind: str) -> Matches:
        """Match a recording by `kind`, "bbox" or "segm", as COCOeval does."""
        return cls.read(recording.match(kind, breakdown=False))

    @classmethod
    def read(cls, evaluation: COCOeval) -> Matches:
        """Read what `Recording.match` matched for all sizes, with or without its breakdown."""
        images = len(evaluation.params.imgIds)
        areas = len(evaluation.params.areaRng)
        # Category by category, then size by size ("all" comes first), in the order of imgIds.
        per_image = evaluation.evalImgs
        return cls(
            tuple(
                _category(per_image[start : start + images])
                for start in range(0, len(per_image), images * areas)
            )
        )

    @property
    def people(self) -> int:
        """Number of people that count on all images."""
        return sum(int(one.people.sum()) for one in self.categories)

    def precision(self, copies: NDArray[np.int64]) -> NDArray[np.float64]:
        """Interpolated precision [T, 101], mean of the classes; NaN without people.

        Args:
            copies: int64 [I], the count of every image.
        """
        present = [one.precision(copies) for one in self.categories if copies @ one.people]
        if not present:
            return np.full((len(OVERLAPS), len(RECALLS)), np.nan)
        return np.asarray(np.mean(present, axis=0))

    def average_precision(self, copies: NDArray[np.int64]) -> float:
        """AP in 0..1 with every image counted `copies` [I] times; NaN without people."""
        return self.average_precisions(copies)[0]

    def average_precisions(self, copies: NDArray[np.int64]) -> tuple[float, float]:
        """AP and AP50, see `average_precision`; equal to COCOeval's to the last bit."""
        present = [one.precision(copies) for one in self.categories if copies @ one.people]
        if not present:
            return np.nan, np.nan
        precision = np.stack(present, axis=-1)  # [T, 101, K], the order in which COCOeval adds up
        return float(np.mean(precision.ravel())), float(np.mean(precision[AT50].ravel()))

    def image_precisions(self) -> list[float | None]:
        """The AP of every image alone; None for an image without people."""
        once = np.ones(1, np.int64)
        alone = zip(*(one.split_by_image() for one in self.categories), strict=True)
        values = [Matches(categories).average_precision(once) for categories in alone]
        return [None if np.isnan(value) else value for value in values]


def _category(per_image: Sequence[dict[str, Any] | None]) -> CategoryMatches:
    """COCOeval's matches of one category, by image; None for an image without any of it."""
    known = [(index, one) for index, one in enumerate(per_image) if one is not None]
    people = np.zeros(len(per_image), np.int64)
    for index, one in known:
        people[index] = np.count_nonzero(one["gtIgnore"] == 0)
    if not known:
        nothing = np.zeros((len(OVERLAPS), 0))
        return CategoryMatches(np.zeros(0, np.int64), np.zeros(0), nothing, nothing, people)
    image = np.repeat([index for index, _ in known], [len(one["dtIds"]) for _, one in known])
    score = np.concatenate([one["dtScores"] for _, one in known])
    matched = np.concatenate([one["dtMatches"] for _, one in known], axis=1) > 0
    counts = ~np.concatenate([one["dtIgnore"] for _, one in known], axis=1).astype(bool)
    order = np.argsort(-score, kind="stable")  # ties stay in the order of the images
    return CategoryMatches(
        image=image[order].astype(np.int64),
        score=score[order].astype(np.float64),
        true_positive=(matched & counts)[:, order].astype(np.float64),
        false_positive=(~matched & counts)[:, order].astype(np.float64),
        people=people,
    )
