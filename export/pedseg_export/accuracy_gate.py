"""The AP gate: what a lower precision costs on labelled images, and whether that may be shipped.

A comparison detection by detection (`verification`) says nothing useful of fp16, bf16 or int8: all
detections move a little. What counts is AP on the user's images, and how sure that figure is.

pycocotools, which counts it, is imported by the first measurement: the rest works without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedseg_runtime.errors import DatasetError, ExportError, InputError
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import read_header
from pedseg_train.eager import EagerSegmenter

if TYPE_CHECKING:
    from pedseg_train.data import SegmentationDataset
    from pedseg_train.evaluation import Annotated, Segment
    from pedseg_train.evaluation.bootstrap import ApDifference, KindDifference

MIN_IMAGES = 20  # below, the bootstrap's intervals are too narrow to prove anything
FAR_TOO_FEW = 100  # more images than this many times the present ones are not suggested


class Outcome(StrEnum):
    """The gate's decision on a loss of AP."""

    PASSES = "passes"
    NOT_PROVEN = "not proven"
    FAILS = "fails"


@dataclass(frozen=True)
class AccuracyVerdict:
    """Whether a loss of AP is acceptable, with the reason.

    Attributes:
        outcome: the worse of the two kinds of AP.
        reason: of that kind, in one line.
        max_drop: the largest acceptable loss, in points (hundredths of AP).
        difference: the measurement.
    """

    outcome: Outcome
    reason: str
    max_drop: float
    difference: ApDifference

    def to_dict(self) -> dict[str, Any]:
        """JSON types, as the manifest's `accuracy`; every number is finite."""
        return {
            "outcome": str(self.outcome),
            "reason": self.reason,
            "max_drop": self.max_drop,
            **self.difference.to_dict(),
        }


def measure(
    candidate: Segment,
    reference: Segment,
    dataset: Annotated,
    indices: Sequence[int],
    **bootstrap: Any,
) -> ApDifference:
    """Run an artifact and its checkpoint on labelled images and compare their AP.

    Args:
        candidate: the artifact, e.g. a `Segmenter`: uint8 [H, W, 3] -> detections.
        reference: the checkpoint, e.g. an `EagerSegmenter`.
        dataset: a `SegmentationDataset` without transforms.
        indices: of its images; use those that training has not seen
            (`pedseg_train.evaluation.subject.select_images`).
        bootstrap: `resamples`, `confidence` and `seed` of `compare_ap`.

    Raises:
        DatasetError: no image, no label, or a damaged file.
    """
    from pedseg_train.evaluation import record
    from pedseg_train.evaluation.bootstrap import compare_ap

    if not indices:
        raise DatasetError(
            "expected labelled images to measure AP on, found none in this part of the dataset; "
            "choose another part or add images"
        )
    expected = record(reference, dataset, indices, description="measuring the checkpoint")
    if not expected.truth:
        raise DatasetError(
            f"expected labelled people to measure AP on, found none on {len(indices)} images; "
            "label some, or choose another part of the dataset"
        )
    found = record(candidate, dataset, indices, description="measuring the artifact")
    return compare_ap(expected, found, **bootstrap)


def judge(difference: ApDifference, *, max_drop: float) -> AccuracyVerdict:
    """Decide whether a loss of AP is acceptable.

    Each kind of AP (boxes, masks) is decided by its measured loss and its confidence interval; the
    worse outcome of the two kinds counts:

    - the measured loss exceeds `max_drop`: it fails.
    - the measured loss and the whole interval are within the limit: it passes.
    - the measured loss is within the limit, the interval's lower bound is not: not proven. The
      images are too few, or too different from each other.

    Fewer than `MIN_IMAGES` images prove nothing, nor does a checkpoint whose own AP is at most
    `max_drop`: a total loss would be within the limit.

    Args:
        difference: the result of `measure`.
        max_drop: the largest acceptable loss in points (hundredths of AP), at least 0.

    Raises:
        InputError: `max_drop` is negative or not finite.
    """
    if not (math.isfinite(max_drop) and max_drop >= 0):
        raise InputError(
            f"max_drop: expected points of AP, 0 or more, found {max_drop}; 0.5 allows half a point"
        )
    answers = [
        _judge_kind(name, kind, difference, max_drop) for name, kind in difference.kinds().items()
    ]
    severity = list(Outcome)
    outcome, reason = max(answers, key=lambda answer: severity.index(answer[0]))
    if outcome is Outcome.PASSES:
        reason = "; ".join(reason for _, reason in answers)
    return AccuracyVerdict(outcome, reason, max_drop, difference)


def _judge_kind(
    name: str, kind: KindDifference, difference: ApDifference, max_drop: float
) -> tuple[Outcome, str]:
    change = f"{name} {_change(kind.difference)}"
    interval = f"{difference.confidence:.0%} interval {kind.low:+.2f} to {kind.high:+.2f}"
    images = f"{difference.images} images"
    if kind.difference < -max_drop:
        return Outcome.FAILS, (
            f"{change}, more than the {max_drop:g} allowed ({interval} on {images})"
        )
    if 100 * kind.reference <= max_drop:
        return Outcome.NOT_PROVEN, (
            f"the checkpoint's own {name} is {100 * kind.reference:.2f} points, so that "
            f"{max_drop:g} would be all of it; train it first"
        )
    if difference.images < MIN_IMAGES:
        return Outcome.NOT_PROVEN, (
            f"{change}, within the {max_drop:g} allowed, but {images} are too few to trust an "
            f"interval; label at least {MIN_IMAGES}"
        )
    if kind.low < -max_drop:
        return Outcome.NOT_PROVEN, (
            f"{change}, within the {max_drop:g} allowed, but the {interval} on {images} reaches "
            f"beyond; {_needed(kind, difference.images, max_drop)}"
        )
    return Outcome.PASSES, f"{change}, surely within the {max_drop:g} allowed ({interval})"


def _change(points: float) -> str:
    verb = "lost" if points < 0 else "gained"
    return f"{verb} {abs(points):.2f} points" if points else "did not change"


def _needed(kind: KindDifference, images: int, max_drop: float) -> str:
    """How many images would prove it: an interval shrinks with the root of their number."""
    room = kind.difference + max_drop
    reach = kind.difference - kind.low
    if room * math.sqrt(FAR_TOO_FEW) <= reach:
        return "the loss is so near the limit that more images will hardly prove it"
    tens = math.ceil(round(images * (reach / room) ** 2 / 10, 3))
    return f"about {10 * tens} labelled images would prove it"


@dataclass(frozen=True)
class AccuracyGate:
    """Labelled images that training has not seen, and the largest acceptable loss of AP.

    Attributes:
        dataset: of any layout, with the labels of the checkpoint.
        indices: the images to measure on.
        max_drop: the largest acceptable loss, in points (hundredths of AP).
    """

    dataset: SegmentationDataset
    indices: Sequence[int]
    max_drop: float

    @classmethod
    def open(
        cls, data: Path, *, checkpoint: Path, max_drop: float, images: Path | None = None
    ) -> AccuracyGate:
        """The gate on the test images of `checkpoint`'s run, see `select_images`.

        Args:
            data: a dataset.
            checkpoint: gives the classes, and its run the test images.
            max_drop: the largest acceptable loss, in points.
            images: folder of a COCO file's images, if it is elsewhere.

        Raises:
            DatasetError: the dataset cannot be used, or has none of the checkpoint's classes.
        """
        from pedseg_train.data import open_dataset
        from pedseg_train.evaluation.subject import select_images

        names = read_header(checkpoint).class_names
        dataset = open_dataset(data, class_names=names, images=images)
        indices, _ = select_images(checkpoint, dataset)
        return cls(dataset, indices, max_drop)

    def check(
        self,
        segmenter: Segmenter,
        reference: EagerSegmenter,
        notify: Callable[[str], object],
    ) -> AccuracyVerdict:
        """Measure the loss of AP.

        Raises:
            DatasetError: the images have no label.
            ExportError: the loss exceeds `max_drop`.
        """
        notify(f"measuring AP on {len(self.indices)} images")
        difference = measure(segmenter, reference, self.dataset, self.indices)
        verdict = judge(difference, max_drop=self.max_drop)
        if verdict.outcome is Outcome.FAILS:
            raise ExportError(
                f"AP: expected the artifact to lose at most {self.max_drop:g} points, found: "
                f"{verdict.reason}; keep a higher precision, calibrate on more images, or "
                "raise --max-ap-drop"
            )
        if verdict.outcome is Outcome.NOT_PROVEN:
            notify(f"AP is not proven: {verdict.reason}")
        return verdict
