"""The full analysis of one recording: COCO's numbers, intervals, curves and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from .bootstrap import CONFIDENCE, KINDS, RESAMPLES, ApInterval, ap_intervals
from .image_rows import ImageRow
from .matches import AT50, AT75, RECALLS, Matches
from .outcomes import (
    SCORE,
    FalseNegative,
    FalsePositive,
    ImageOutcome,
    OperatingPoint,
    best_operating_point,
    find_outcomes,
)
from .recording import Recording
from .result import NUMBERS, CocoResult, Numbers, count_matches, format_metric

MOST_COUNTED = 100  # detections per image and class that COCO's AP takes

Intervals = dict[str, dict[str, ApInterval]]


@dataclass(frozen=True, slots=True)
class Analysis:
    """How a model did on labelled images.

    Attributes:
        result: COCO's numbers.
        intervals: "bbox" and "segm" -> "AP" and "AP50" -> value and interval; empty without
            people or without resamples.
        resamples: draws behind the intervals.
        confidence: of the intervals, in 0..1.
        score: the score threshold of `outcomes` and `rows`.
        outcomes: kind -> matches and errors, image by image.
        rows: one per image, by masks.
        precision: kind -> interpolated precision [T, 101] by overlap and recall; NaN without
            people.
        best: kind -> the score with the best F1 at an overlap of 0.5; None without a true positive.
        most: the greatest number of people, or of detections, of one class on one image.
    """

    result: CocoResult
    intervals: Intervals
    resamples: int
    confidence: float
    score: float
    outcomes: dict[str, list[ImageOutcome]]
    rows: list[ImageRow]
    precision: dict[str, NDArray[np.float64]]
    best: dict[str, OperatingPoint | None]
    most: int

    def errors(self, kind: str) -> dict[str, Any]:
        """False negatives and false positives by reason, and the totals, as JSON types."""
        outcomes = self.outcomes[kind]
        false_positives = Counter(one.reason for image in outcomes for one in image.false_positives)
        false_negatives = Counter(one.reason for image in outcomes for one in image.missed)
        return {
            "score": self.score,
            "people": sum(image.people for image in outcomes),
            "found": sum(len(image.shown) for image in outcomes),
            "matched": sum(len(image.matched) for image in outcomes),
            "missed": {str(reason): false_negatives[reason] for reason in FalseNegative},
            "false_alarms": {str(reason): false_positives[reason] for reason in FalsePositive},
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, as JSON types; no NaN."""
        intervals: dict[str, Any] = {
            kind: {name: asdict(one) for name, one in numbers.items()}
            for kind, numbers in self.intervals.items()
        }
        if intervals:
            intervals |= {"resamples": self.resamples, "confidence": self.confidence}
        return {
            **self.result.to_dict(),
            "intervals": intervals,
            "errors": {kind: self.errors(kind) for kind in KINDS},
            "best_f1": {
                kind: None if point is None else point._asdict()
                for kind, point in self.best.items()
            },
            "precision_recall": {kind: _curves(self.precision[kind]) for kind in KINDS},
        }

    def table(self) -> Table:
        """The twelve numbers, AP and AP50 with their intervals, and a block per class."""
        result = self.result
        table = Table(
            title=f"{result.detections} detections on {result.images} images with "
            f"{result.instances} {self.instance_noun}",
            caption=f"in brackets the {self.confidence:.0%} interval over images, "
            f"{self.resamples} resamples"
            if self.intervals
            else None,
        )
        table.add_column("COCO")
        table.add_column("bbox", justify="left")
        table.add_column("segm", justify="left")
        for name in NUMBERS:
            table.add_row(name, *(self.cell(kind, name) for kind in KINDS))
        for title, numbers in result.classes.items():
            table.add_section()
            table.add_row(Text(f"{title} ({numbers['instances']})"), "", "")
            for name in ("AP", "AP50", "AP75"):
                table.add_row(f"  {name}", *(format_metric(numbers[kind][name]) for kind in KINDS))
        return table

    @property
    def instance_noun(self) -> str:
        """What to call the instances: "people", or "instances" with several classes."""
        return "instances" if self.result.classes else "people"

    def cell(self, kind: str, name: str) -> str:
        """A number with its interval if there is one: `0.486 [0.43, 0.54]`."""
        interval = self.intervals.get(kind, {}).get(name)
        numbers: Numbers = getattr(self.result, kind)
        return format_metric(numbers[name]) if interval is None else str(interval)

    def summary(self) -> str:
        """Matches and errors at the score threshold, in one line."""
        errors = self.errors("segm")
        false_positives = sum(errors["false_alarms"].values())
        line = (
            f"at a score of {self.score:g}: {errors['matched']} of {errors['people']} "
            f"{self.instance_noun} found, {false_positives} false positives"
        )
        best = self.best["segm"]
        if best is not None:
            line += f"; the best F1 is {best.f1:.2f}, at a score of {best.score:.2f}"
        return f"{line}; {self.limit}" if self.limit else line

    @property
    def limit(self) -> str:
        """Says that AP does not count everything, if so."""
        if self.most <= MOST_COUNTED:
            return ""
        return (
            f"AP counts the {MOST_COUNTED} best detections per image and class, as COCO does; "
            f"the other numbers count all, up to {self.most} here"
        )


def analyse(
    recording: Recording,
    names: Sequence[str],
    *,
    score: float = SCORE,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Analysis:
    """Evaluate a recording in every way that the reports show.

    Args:
        recording: of a model.
        names: of the images of the dataset, by position.
        score: the score threshold of matches and errors.
        resamples: draws of the intervals; 0 leaves them out.
        confidence: of the intervals, in 0..1.
        seed: of the draws.
    """
    matched = {kind: recording.match(kind) for kind in KINDS}
    matches = {kind: Matches.read(evaluation) for kind, evaluation in matched.items()}
    intervals: Intervals = {}
    if resamples and recording.people and all(side.people for side in matches.values()):
        intervals = ap_intervals(
            recording, matches=matches, resamples=resamples, confidence=confidence, seed=seed
        )
    once = np.ones(len(recording.images), np.int64)
    outcomes = {kind: find_outcomes(recording, kind, score=score) for kind in KINDS}
    return Analysis(
        result=count_matches(recording, matched),
        intervals=intervals,
        resamples=resamples,
        confidence=confidence,
        score=score,
        outcomes=outcomes,
        rows=_rows(recording, names, outcomes["segm"], matches["segm"]),
        precision={kind: side.precision(once) for kind, side in matches.items()},
        best={kind: best_operating_point(images) for kind, images in outcomes.items()},
        most=most_of_a_class(recording),
    )


def most_of_a_class(recording: Recording) -> int:
    """The greatest number of people, or of detections, of one class on one image."""
    counts = [
        Counter((entry["image_id"], entry["category_id"]) for entry in side)
        for side in (recording.truth, recording.found)
    ]
    return max((number for side in counts for number in side.values()), default=0)


def _rows(
    recording: Recording, names: Sequence[str], outcomes: list[ImageOutcome], matches: Matches
) -> list[ImageRow]:
    """One row per image, in the order of the recording, which is not COCOeval's."""
    precisions = dict(zip(recording.sorted_ids, matches.image_precisions(), strict=True))
    return [ImageRow.of(names[one.image], one, precisions[one.image]) for one in outcomes]


def _curves(precision: NDArray[np.float64]) -> dict[str, list[float]]:
    """Precision at COCO's 101 recalls, for three overlaps; empty lists without people."""
    if np.isnan(precision).any():
        return {"recall": [], "0.50": [], "0.75": [], "0.50:0.95": []}
    curves = {
        "recall": RECALLS,
        "0.50": precision[AT50],
        "0.75": precision[AT75],
        "0.50:0.95": precision.mean(axis=0),
    }
    return {name: np.round(values, 6).tolist() for name, values in curves.items()}
