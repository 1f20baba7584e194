"""Judges of the two stages that yield sets of boxes: whose order and number may differ rightly.

Boxes are matched, and what only one side has is explained by its margins, as parity does with whole
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

from ..graph.taps import BOXES, IMAGE_INDEX, LABELS, PROPOSAL_BOXES, PROPOSAL_SCORES, SCORES
from .judges import Judge, Values
from .limits import StageLimits
from .passage import Arrays, Passage
from .report import StageResult

LEAST = 1e-30  # scores are compared by their logarithm down to this


class BoxJudge(Judge):
    """Judges sets of boxes with scores."""

    score_unit: ClassVar[str]
    noun: ClassVar[str]
    reads_size = True

    def __init__(self, limits: StageLimits, tolerances: Tolerances, settings: Settings) -> None:
        """`tolerances` are this stage's limits, `settings` what it chooses its boxes by."""
        super().__init__(limits)
        self.tolerances = tolerances
        self.settings = settings
        self.matched: list[MatchedImage] = []
        self.cuts: dict[str, tuple[float, ...]] = {}

    def boxes_of(self, values: Arrays) -> Detections:
        """The set of the first image among the stage's `values`, without masks to speak of."""
        raise NotImplementedError

    def look(self, image: str, eager: Passage, found: Values) -> None:
        """Match both sides' boxes."""
        sides = self.boxes_of(eager.values), self.boxes_of(found)
        matched = MatchedImage.of(*sides, image, self.tolerances)
        # Parity tells two proposals at one place by their masks. Here distance has to do.
        apart = matched.differences["boxes"] > PROPOSAL_DISTANCE * self.tolerances.boxes
        differences = {**matched.differences, "masks": apart.astype(np.float64)}
        del differences["roi_masks"]
        self.matched.append(dataclasses.replace(matched, differences=differences))
        self.cuts[image] = eager.level_cuts
        self.images += bool(len(sides[0]) or len(sides[1]))

    def result(self) -> StageResult:
        """The verdict over all images."""
        settled = analyse_flips(self.matched, self.tolerances, self.settings)
        for image, unmatched in settled:
            self._note(image, [self.explain(item) for item in unmatched])
        flips = [self.explain(item) for _, items in settled for item in items]
        self.notes += _sums(self.noun, [item for item in flips if item.benign])
        return super().result()

    def explain(self, item: Unmatched) -> Unmatched:
        """`item`, perhaps with a cause that this stage alone knows."""
        return item

    def _note(self, image: MatchedImage, unmatched: Sequence[Unmatched]) -> None:
        """Keep the differences of pairs, and the share of boxes without a fitting partner.

        A lower precision may put another box in a few places: where their share is within its
        limit, their distances mean nothing.
        """
        defects = [item for item in unmatched if not item.benign]
        agreeing = image.agreeing(self.tolerances)
        count = len(defects) + 2 * int(np.count_nonzero(~agreeing))
        share = count / max(len(image.reference) + len(image.candidate), 1)
        limit = self.limits.unexplained
        pairs = image if share > limit else image.keep(agreeing)
        for field, unit in (("scores", self.score_unit), ("boxes", "resized pixels")):
            largest = float(pairs.differences[field].max(initial=0.0))
            self.note(field, largest, unit, getattr(self.tolerances, field), image.name)
        self.note("unexplained", share, f"of {self.noun}s", limit, image.name)
        if share > limit and defects:
            first = defects[0]
            place = [round(pixel, 1) for pixel in first.box] if first.box else "not finite"
            self.notes.append(
                f"{image.name}: {pluralize(len(defects), self.noun)} on one side alone, "
                f"unexplained, first {first.side}'s {place}"
            )


class Proposals(BoxJudge):
    """The proposals, an unordered set to the next stage.

    Most scores are close to 0, so their logarithms are compared: fractions of themselves.
    """

    name = "proposals"
    meaning = "the RPN head, anchors, box decoding, clipping, NMS or its best 1000 differ"
    score_unit = "of itself"
    noun = "proposal"

    def boxes_of(self, values: Arrays) -> Detections:
        """The proposals without empty places."""
        boxes, scores = values[PROPOSAL_BOXES][0], values[PROPOSAL_SCORES][0]
        real = ~(scores < 0)  # NaN stays, and is told
        labels = np.ones(int(real.sum()), np.int64)
        return bare(boxes[real], labels, np.log(np.maximum(scores[real], LEAST)))

    def explain(self, item: Unmatched) -> Unmatched:
        """A proposal may be the last of its level's best 1000, or just not."""
        if item.benign or item.score is None:
            return item
        margins = [abs(item.score - np.log(max(cut, LEAST))) for cut in self.cuts[item.image]]
        margin = min(margins, default=np.inf)
        if margin > self.tolerances.scores:
            return item
        return dataclasses.replace(
            item, kind="cap of a level", benign=True, rank_margin=float(margin)
        )


class FoundObjects(BoxJudge):
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
        first = values[IMAGE_INDEX] == 0
        boxes, labels, scores = (values[name][first] for name in (BOXES, LABELS, SCORES))
        return bare(boxes, labels, scores)


def bare(boxes: NDArray[Any], labels: NDArray[Any], scores: NDArray[Any]) -> Detections:
    """Detections [D] whose masks are not there yet: one cell of zero each."""
    masks = np.zeros((len(boxes), 1, 1), np.float32)
    return Detections(boxes, labels, scores, masks, image_size=(0, 0))


def _sums(noun: str, flips: Sequence[Unmatched]) -> list[str]:
    """One line per kind of explained flip, with the largest of its margins."""
    lines = []
    for kind, count in Counter(item.kind for item in flips).items():
        margins = [_margin(item) for item in flips if item.kind == kind]
        largest = max((margin for margin in margins if margin is not None), default=None)
        told = "" if largest is None else f", margins up to {largest:.2g}"
        lines.append(f"{pluralize(count, noun)} on one side alone, explained: {kind}{told}")
    return lines


def _margin(item: Unmatched) -> float | None:
    if item.kind.startswith("nms"):
        return item.nms_margin
    margin = item.score_margin if item.kind == "score threshold" else item.rank_margin
    return None if margin is None else abs(margin)
