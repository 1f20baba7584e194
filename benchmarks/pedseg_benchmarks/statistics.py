"""Percentiles, ratios, stability and drift of raw timings.

Nothing is clipped: a slow call is a fact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0
FEW_ROUNDS = 10  # below, a bootstrap over rounds promises more than it holds
MOST_NUMBERS = 4_000_000  # drawn at once
WINDOWS = 3
LONGEST_WINDOW = 5  # rounds
FAR_OUT = 3.0  # interquartile ranges above the upper quartile, Tukey's outer fence


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


@dataclass(frozen=True, slots=True)
class Drift:
    """How the machine changed under the benchmark, seen on eager, which never changes.

    Attributes:
        percent: change from the first round to the last on the line of Theil and Sen through the
            rounds; positive is slower.
        p_value: of Kendall's test for a trend, two-sided; near 0 is a trend, near 1 is noise.
    """

    percent: float
    p_value: float


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
    machine does to both cancels. The interval comes from resampling rounds: the images are
    given, while the rounds are repetitions that another run would draw anew.

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


def window_length(rounds: int) -> int:
    """Rounds per window, so that three windows take at most three fifths of `rounds`."""
    return max(1, min(LONGEST_WINDOW, rounds // 5))


def is_stable(seconds: NDArray[np.float64], *, window: int, percent: float) -> bool:
    """Whether the medians of the last three windows of rounds agree.

    Args:
        seconds: float64 [R, I] by round and image.
        window: rounds per window.
        percent: how much the largest median may exceed the smallest.

    Returns:
        False also if there are fewer rounds than three windows.
    """
    needed = WINDOWS * window
    if len(seconds) < needed:
        return False
    rounds = seconds[-needed:].sum(axis=1).reshape(WINDOWS, window)
    medians = np.median(rounds, axis=1)
    return bool(medians.max() <= medians.min() * (1 + percent / 100))


def count_outliers(seconds: NDArray[np.float64]) -> int:
    """Calls beyond Tukey's outer fence among those of the same image; [R, I] by round and image.

    They are counted, never taken out.
    """
    low, high = np.quantile(seconds, [0.25, 0.75], axis=0)
    # Equal times up to the clock's rounding leave no fence at all.
    fence = high + np.maximum(FAR_OUT * (high - low), 1e-9 * high)
    return int((seconds > fence).sum())


def drift(seconds: NDArray[np.float64]) -> Drift | None:
    """The trend of one contender over the rounds, [R, I] by round and image.

    Every call is divided by the median of its image, every round is the median of its calls. The
    slope is the median of all slopes between two rounds (Theil, Sen), which a few slow rounds
    cannot bend; Kendall's test says how easily mere noise would look like it.

    Returns:
        None with fewer than three rounds.
    """
    count = len(seconds)
    if count < 3:
        return None
    relative = np.median(seconds / np.median(seconds, axis=0), axis=1)
    first, second = np.triu_indices(count, k=1)
    rises = relative[second] - relative[first]
    slope = float(np.median(rises / (second - first)))
    middle = float(np.median(relative - slope * np.arange(count)))
    balance = float(np.sign(np.where(np.abs(rises) < 1e-9, 0, rises)).sum())
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    # One step less in size: the balance moves in whole steps, the normal curve does not.
    deviation = max(0.0, abs(balance) - 1) / spread
    return Drift(
        percent=100 * slope * (count - 1) / middle,
        p_value=math.erfc(deviation / math.sqrt(2)),
    )
