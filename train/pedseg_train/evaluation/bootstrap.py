"""Bootstrap intervals of AP over images, for one model or for two on the same images.

Images are drawn with replacement. Two models share every draw (a paired bootstrap), so that hard
and easy images cancel and only the models' difference is left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from pedseg_runtime.console import track
from pedseg_runtime.errors import InputError

from .matches import Matches
from .recording import Recording

KINDS = {"bbox": "box AP", "segm": "mask AP"}
INTERVALS = ("AP", "AP50")  # in the order of `Matches.average_precisions`
RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class ApInterval:
    """An AP in 0..1 with its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class KindDifference:
    """Two APs of one kind and their difference.

    Attributes:
        reference, candidate: AP in 0..1, equal to COCOeval's.
        difference: candidate - reference in points (hundredths of AP); negative is a loss.
        low, high: bounds of the difference's interval, in points.
        candidate_interval: bounds of the candidate's own AP, in 0..1.
    """

    reference: float
    candidate: float
    difference: float
    low: float
    high: float
    candidate_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ApDifference:
    """The difference in AP of a candidate and a reference on the same images.

    Attributes:
        bbox, segm: the two kinds of AP.
        images: number of labelled images.
        instances: people on them.
        resamples: draws behind the intervals.
        confidence: of the intervals, in 0..1.
    """

    bbox: KindDifference
    segm: KindDifference
    images: int
    instances: int
    resamples: int
    confidence: float

    def kinds(self) -> dict[str, KindDifference]:
        """The differences by title: `box AP`, `mask AP`."""
        return {name: getattr(self, kind) for kind, name in KINDS.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types; every number is finite."""
        return dataclasses.asdict(self)

    def summary(self) -> str:
        """Both kinds in one line."""
        parts = [
            f"{name} {kind.reference:.3f} -> {kind.candidate:.3f}, {kind.difference:+.2f} points "
            f"({kind.low:+.2f} to {kind.high:+.2f})"
            for name, kind in self.kinds().items()
        ]
        return f"{'; '.join(parts)}; {self.confidence:.0%} intervals, {self.images} images"

    def table(self) -> Table:
        """Both kinds as rows, for a terminal."""
        table = Table(
            title=f"AP on {self.images} images with {self.instances} people, "
            f"{self.resamples} resamples"
        )
        table.add_column("COCO")
        for column in ("reference", "candidate", "points", f"{self.confidence:.0%} interval"):
            table.add_column(column, justify="right")
        for name, kind in self.kinds().items():
            table.add_row(
                name,
                f"{kind.reference:.3f}",
                f"{kind.candidate:.3f}",
                f"{kind.difference:+.2f}",
                f"{kind.low:+.2f} to {kind.high:+.2f}",
            )
        return table


def ap_intervals(
    recording: Recording,
    *,
    matches: Mapping[str, Matches] | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, dict[str, ApInterval]]:
    """AP and AP50 of one model, by kind "bbox" and "segm", with percentile bootstrap intervals.

    Args:
        recording: of the model; its truth must have people.
        matches: of the recording by kind, if already computed.
        resamples: number of draws.
        confidence: of the intervals, in 0..1.
        seed: of the draws; the same seed draws the same images.

    Returns:
        `{"bbox": {"AP": ..., "AP50": ...}, "segm": ...}`

    Raises:
        InputError: no images, no people, or an argument out of range.
    """
    _check(recording, resamples, confidence)
    intervals = {}
    for kind, name in KINDS.items():
        side = Matches.of(recording, kind) if matches is None else matches[kind]
        whole, drawn = _resample([side], len(recording.images), resamples, seed, name)
        intervals[kind] = {
            number: ApInterval(float(whole[0, place]), *_interval(drawn[:, 0, place], confidence))
            for place, number in enumerate(INTERVALS)
        }
    return intervals


def compare_ap(
    reference: Recording,
    candidate: Recording,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> ApDifference:
    """The difference in AP of two models on the same images, with its interval.

    A draw without people has no AP and is left out of the intervals, which can only happen with a
    handful of images.

    Args:
        reference: recording of the one model.
        candidate: recording of the other on the same images of the same dataset.
        resamples: number of draws.
        confidence: of the intervals, in 0..1.
        seed: of the draws; the same seed draws the same images.

    Raises:
        InputError: different images or people, no people, or an argument out of range.
    """
    _check(reference, resamples, confidence)
    if reference.images != candidate.images or reference.truth != candidate.truth:
        raise InputError(
            f"expected two models on the same images, found {len(reference.images)} images "
            f"with {len(reference.truth)} people and {len(candidate.images)} with "
            f"{len(candidate.truth)}, or others; record both on the same part of one dataset"
        )
    kinds = {}
    counted = resamples
    for kind, name in KINDS.items():
        sides = [Matches.of(side, kind) for side in (reference, candidate)]
        whole, drawn = _resample(sides, len(reference.images), resamples, seed, name)
        whole, drawn = whole[:, 0], drawn[..., 0]
        points = 100 * (drawn[:, 1] - drawn[:, 0])
        low, high = _interval(points, confidence)
        kinds[kind] = KindDifference(
            reference=float(whole[0]),
            candidate=float(whole[1]),
            difference=float(100 * (whole[1] - whole[0])),
            low=low,
            high=high,
            candidate_interval=_interval(drawn[:, 1], confidence),
        )
        counted = len(drawn)
    return ApDifference(
        **kinds,
        images=len(reference.images),
        instances=reference.people,
        resamples=counted,
        confidence=confidence,
    )


def _resample(
    sides: Sequence[Matches], count: int, resamples: int, seed: int, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AP and AP50 of every side on all `count` images, and on every draw with people.

    Returns:
        [S, 2] and [R, S, 2].

    Raises:
        InputError: no draw has people.
    """
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, count, (resamples, count))
    copies = [np.bincount(draw, minlength=count) for draw in draws]
    drawn = np.array(
        [
            [side.average_precisions(one) for side in sides]
            for one in track(copies, f"resampling {name}", total=resamples)
        ]
    )
    drawn = drawn[np.isfinite(drawn).all(axis=(1, 2))]
    if not len(drawn):
        raise InputError(
            f"resamples: expected enough draws to include a person, found none in {resamples} "
            f"draws of {count} images; ask for more"
        )
    everything = np.ones(count, np.int64)
    return np.array([side.average_precisions(everything) for side in sides]), drawn


def _interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return low, high


def _check(recording: Recording, resamples: int, confidence: float) -> None:
    if not recording.people:
        raise InputError(
            f"expected labelled people to compute AP, found none on {len(recording.images)} "
            "images; label some, or choose another part of the dataset"
        )
    if resamples < 1:
        raise InputError(f"resamples: expected a positive number, found {resamples}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a fraction between 0 and 1, found {confidence}")
