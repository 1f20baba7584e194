"""Percentiles and ratios of raw timings. Nothing is clipped: a slow call is a fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0
FEW_ROUNDS = 10  # below, a bootstrap over rounds promises more than it holds
MOST_NUMBERS = 4_000_000  # drawn at once


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """What one contender's timed calls amount to; times in milliseconds.

    Attributes:
        count: number of calls.
        mean, std, min, max: of all calls (std with n in the denominator).
        p50, p90, p95, p99: percentiles with linear interpolation between the closest ranks.
        images_per_second: calls divided by the time they took, one image per call.
    """

    count: int
    mean: float
    std: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Speedup:
    """How many times faster than eager; above 1 is faster.

    Attributes:
        median: median over calls of eager's time divided by the contender's, on the same image in
            the same round.
        low, high: bootstrap percentile interval of that median.
        confidence: of the interval, 0..1.
    """

    median: float
    low: float
    high: float
    confidence: float


def summarise(seconds: NDArray[np.float64]) -> LatencySummary:
    """Summarise timings in seconds, of any shape and at least one element."""
    values = seconds.ravel() * 1e3
    p50, p90, p95, p99 = np.percentile(values, [50, 90, 95, 99]).tolist()
    total = float(seconds.sum())
    return LatencySummary(
        count=values.size,
        mean=float(values.mean()),
        std=float(values.std()),
        min=float(values.min()),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        max=float(values.max()),
        images_per_second=values.size / total if total > 0 else 0.0,
    )


def speedup_over(
    eager: NDArray[np.float64],
    contender: NDArray[np.float64],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Speedup:
    """Compare two contenders call by call.

    Calls are paired because they met the same image within moments of each other: what a drifting
    machine does to both cancels. The interval comes from resampling rounds: the images are the
    ones that were asked for, while the rounds are repetitions that another run would draw anew.

    Args:
        eager: seconds, float64 [R, I] by round and image, all positive.
        contender: likewise, same rounds and images.
        confidence: of the interval.
        resamples: bootstrap draws.
    """
    ratios = eager / contender
    generator = np.random.default_rng(SEED)
    medians = np.concatenate(
        [np.median(drawn, axis=(1, 2)) for drawn in _draws(ratios, resamples, generator)]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail]).tolist()
    return Speedup(median=float(np.median(ratios)), low=low, high=high, confidence=confidence)


@dataclass(frozen=True, slots=True)
class Change:
    """How many times as long something takes as it did; above 1 is slower.

    Attributes:
        ratio: new over old.
        low, high: bootstrap percentile interval of it.
        confidence: of the interval, 0..1.
    """

    ratio: float
    low: float
    high: float
    confidence: float


def change_between(
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Change:
    """Compare two runs of one contender, or of its ratios to eager, on the same images.

    The estimate is the geometric mean over images of the ratio of medians over rounds: images of
    different sizes count alike. Rounds of the two runs are resampled apart, for nothing pairs them.

    Args:
        old: float64 [R, I] by round and image, all positive.
        new: float64 [S, I], of the same images in the same order.
        confidence: of the interval.
        resamples: bootstrap draws.
    """
    generator = np.random.default_rng(SEED)
    tail = (1 - confidence) / 2
    logs = [np.log(values) for values in (old, new)]
    before, after = (_resampled_levels(values, resamples, generator) for values in logs)
    low, high = np.quantile(np.exp(after - before), [tail, 1 - tail]).tolist()
    level = [float(np.median(values, axis=0).mean()) for values in logs]
    return Change(float(np.exp(level[1] - level[0])), low, high, confidence)


def _resampled_levels(
    logs: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Mean over images of medians over drawn rounds, float64 [resamples]; `logs` is [R, I]."""
    return np.concatenate(
        [np.median(drawn, axis=1).mean(axis=1) for drawn in _draws(logs, resamples, generator)]
    )


def _draws(
    values: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Rounds drawn with replacement, in portions of bounded memory: [draws, R, I] of [R, I]."""
    rounds = len(values)
    draws = generator.integers(0, rounds, (resamples, rounds))
    portion = max(1, MOST_NUMBERS // values.size)
    for start in range(0, resamples, portion):
        yield values[draws[start : start + portion]]
