"""What rounds of times say of themselves: have they settled, do they drift, who stands out?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .results import Drift

WINDOWS = 3
LONGEST_WINDOW = 5  # rounds
FAR_OUT = 3.0  # interquartile ranges above the upper quartile, Tukey's outer fence


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
