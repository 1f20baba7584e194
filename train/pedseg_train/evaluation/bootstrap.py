"""How sure an AP is: bootstrap over pictures, for one model or for two on the same pictures.

Pictures are drawn with replacement, as if others of the same kind had been taken. Two models meet
the same draw, so that hard and easy pictures cancel and only their difference is left (a paired
bootstrap).
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
    """An AP in 0..1 with the interval that other pictures of the same kind would put it in."""

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
        low, high: bounds of the interval of the difference, in points.
    """

    reference: float
    candidate: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ApDifference:
    """What a candidate gains or loses in AP against a reference on the same pictures.

    Attributes:
        bbox, segm: the two kinds of AP.
        images: labelled pictures that both sides saw.
        instances: people on them.
        resamples: draws that the intervals come from.
        confidence: of the intervals, in 0..1.
    """

    bbox: KindDifference
    segm: KindDifference
    images: int
    instances: int
    resamples: int
    confidence: float

    def kinds(self) -> dict[str, KindDifference]:
        """The difference by what a reader calls it: `box AP`, `mask AP`."""
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
        recording: what the model found; it must have people in its truth.
        matches: of the recording by kind, where they are known already.
        resamples: how many draws of pictures.
        confidence: of the intervals, in 0..1.
        seed: of the draws; the same seed draws the same pictures.

    Returns:
        `{"bbox": {"AP": ..., "AP50": ...}, "segm": ...}`

    Raises:
        InputError: no picture, nobody on them, or an argument out of range.
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
    """The difference in AP of two models on the same pictures, with its interval.

    A draw in which nobody is on any picture has no AP; it is left out of the intervals, which can
    only happen with a handful of pictures.

    Args:
        reference: what the one found.
        candidate: what the other found on the same pictures of the same dataset.
        resamples: how many draws of pictures.
        confidence: of the intervals, in 0..1.
        seed: of the draws; the same seed draws the same pictures.

    Raises:
        InputError: other pictures or people on one side, nobody on the pictures, or an argument out
            of range.
    """
    _check(reference, resamples, confidence)
    if reference.images != candidate.images or reference.truth != candidate.truth:
        raise InputError(
            f"expected two models on the same pictures, found {len(reference.images)} pictures "
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
    """AP and AP50 of every side on all `count` pictures, and on every draw of them that has any.

    Returns:
        [S, 2] and [R, S, 2].

    Raises:
        InputError: no draw has one.
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
            f"resamples: expected enough draws to meet a person, found none in {resamples} draws "
            f"of {count} pictures; ask for more"
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
            "pictures; label some, or choose another part of the dataset"
        )
    if resamples < 1:
        raise InputError(f"resamples: expected a positive number, found {resamples}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a fraction between 0 and 1, found {confidence}")
