"""Checks of the two stages with sets of boxes, whose order and number may differ legitimately.

Boxes are matched, and a box of only one side is explained by its margins, as parity does with whole
detections: a score at a threshold or a cap, an IoU at the NMS threshold, a tie.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.detections import Detections
from pedseg_runtime.parity import Settings, Tolerances, Unmatched
from pedseg_runtime.parity.flip_analysis import PROPOSAL_DISTANCE, analyse_flips
from pedseg_runtime.parity.matching import MatchedImage
from pedseg_runtime.text import pluralize

from ..graph.intermediates import (
    BOXES,
    IMAGE_INDEX,
    LABELS,
    PROPOSAL_BOXES,
    PROPOSAL_SCORES,
    SCORES,
)
from .checks import StageCheck, StageLimits, Values
from .eager_trace import Arrays, EagerTrace
from .report import StageResult

MIN_SCORE = 1e-30  # for the logarithm of scores


class BoxCheck(StageCheck):
    """Checks sets of boxes with scores."""

    score_unit: ClassVar[str]
    noun: ClassVar[str]
    reads_size = True

    def __init__(self, limits: StageLimits, tolerances: Tolerances, settings: Settings) -> None:
        """`tolerances` are this stage's limits, `settings` those of its selection."""
        super().__init__(limits)
        self.tolerances = tolerances
        self.settings = settings
        self.matched: list[MatchedImage] = []
        self.level_cutoffs: dict[str, tuple[float, ...]] = {}

    def boxes_of(self, values: Arrays) -> Detections:
        """The boxes of the first image among the stage's `values`, with empty masks."""
        raise NotImplementedError

    def inspect(self, image: str, eager: EagerTrace, found: Values) -> None:
        """Match the boxes of both sides."""
        sides = self.boxes_of(eager.values), self.boxes_of(found)
        matched = MatchedImage.of(*sides, image, self.tolerances)
        # Parity separates two boxes at one position by their masks. Here their distance decides.
        apart = matched.differences["boxes"] > PROPOSAL_DISTANCE * self.tolerances.boxes
        differences = {**matched.differences, "masks": apart.astype(np.float64)}
        del differences["roi_masks"]
        self.matched.append(dataclasses.replace(matched, differences=differences))
        self.level_cutoffs[image] = eager.level_cutoffs
        self.images += bool(len(sides[0]) or len(sides[1]))

    def result(self) -> StageResult:
        """The verdict over all images."""
        explained = analyse_flips(self.matched, self.tolerances, self.settings)
        for image, unmatched in explained:
            self._record_differences(image, [self.explain(item) for item in unmatched])
        flips = [self.explain(item) for _, items in explained for item in items]
        self.notes += _summarize_flips(self.noun, [item for item in flips if item.benign])
        return super().result()

    def explain(self, item: Unmatched) -> Unmatched:
        """`item`, perhaps with a cause that is specific to this stage."""
        return item

    def _record_differences(self, image: MatchedImage, unmatched: Sequence[Unmatched]) -> None:
        """Record the differences of pairs, and the share of boxes without an agreeing partner.

        A lower precision may select a few other boxes: if their share is within its limit, their
        distances are ignored.
        """
        defects = [item for item in unmatched if not item.benign]
        agreeing = image.agreeing(self.tolerances)
        count = len(defects) + 2 * int(np.count_nonzero(~agreeing))
        share = count / max(len(image.reference) + len(image.candidate), 1)
        limit = self.limits.unexplained
        pairs = image if share > limit else image.keep(agreeing)
        for field, unit in (("scores", self.score_unit), ("boxes", "resized pixels")):
            largest = float(pairs.differences[field].max(initial=0.0))
            self.record(field, largest, unit, getattr(self.tolerances, field), image.name)
        self.record("unexplained", share, f"of {self.noun}s", limit, image.name)
        if share > limit and defects:
            first = defects[0]
            place = [round(pixel, 1) for pixel in first.box] if first.box else "not finite"
            self.notes.append(
                f"{image.name}: {pluralize(len(defects), self.noun)} on one side only, "
                f"unexplained, first {first.side}'s {place}"
            )


class ProposalCheck(BoxCheck):
    """The proposals, an unordered set for the next stage.

    Most scores are close to 0, so that their logarithms are compared: relative differences.
    """

    name = "proposals"
    meaning = "the RPN head, anchors, box decoding, clipping, NMS or its best 1000 differ"
    score_unit = "of itself"
    noun = "proposal"

    def boxes_of(self, values: Arrays) -> Detections:
        """The proposals without empty entries."""
        boxes, scores = values[PROPOSAL_BOXES][0], values[PROPOSAL_SCORES][0]
        real = ~(scores < 0)  # NaN stays, and fails
        labels = np.ones(int(real.sum()), np.int64)
        return without_masks(boxes[real], labels, np.log(np.maximum(scores[real], MIN_SCORE)))

    def explain(self, item: Unmatched) -> Unmatched:
        """A proposal may be at the cap of its level's best 1000."""
        if item.benign or item.score is None:
            return item
        margins = [
            abs(item.score - np.log(max(cutoff, MIN_SCORE)))
            for cutoff in self.level_cutoffs[item.image]
        ]
        margin = min(margins, default=np.inf)
        if margin > self.tolerances.scores:
            return item
        return dataclasses.replace(
            item, kind="cap of a level", benign=True, rank_margin=float(margin)
        )


class DetectionCheck(BoxCheck):
    """Class scores and boxes after NMS and the cap."""

    name = "class scores and boxes"
    meaning = (
        "RoIAlign of the box branch, the box head, box decoding, the score threshold, NMS or the "
        "cap on detections differ"
    )
    score_unit = "fraction"
    noun = "detection"

    def boxes_of(self, values: Arrays) -> Detections:
        """The detections of the first image."""
        of_first = values[IMAGE_INDEX] == 0
        boxes, labels, scores = (values[name][of_first] for name in (BOXES, LABELS, SCORES))
        return without_masks(boxes, labels, scores)


def without_masks(boxes: NDArray[Any], labels: NDArray[Any], scores: NDArray[Any]) -> Detections:
    """Detections [D] with empty masks, one cell of zero each."""
    masks = np.zeros((len(boxes), 1, 1), np.float32)
    return Detections(boxes, labels, scores, masks, image_size=(0, 0))


def _summarize_flips(noun: str, flips: Sequence[Unmatched]) -> list[str]:
    """One line per kind of explained flip, with the largest of its margins."""
    lines = []
    for kind, count in Counter(item.kind for item in flips).items():
        margins = [_margin(item) for item in flips if item.kind == kind]
        largest = max((margin for margin in margins if margin is not None), default=None)
        suffix = "" if largest is None else f", margins up to {largest:.2g}"
        lines.append(f"{pluralize(count, noun)} on one side only, explained: {kind}{suffix}")
    return lines


def _margin(item: Unmatched) -> float | None:
    if item.kind.startswith("nms"):
        return item.nms_margin
    margin = item.score_margin if item.kind == "score threshold" else item.rank_margin
    return None if margin is None else abs(margin)
