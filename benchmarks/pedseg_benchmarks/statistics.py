"""Percentiles and ratios of raw timings. Nothing is clipped: a slow call is a fact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0


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
    draws = generator.integers(0, len(ratios), (resamples, len(ratios)))
    medians = [float(np.median(ratios[rounds])) for rounds in draws]
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail]).tolist()
    return Speedup(median=float(np.median(ratios)), low=low, high=high, confidence=confidence)
