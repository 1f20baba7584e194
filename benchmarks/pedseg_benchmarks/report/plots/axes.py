"""From figures to places: linear and logarithmic axes with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MOST_TICKS = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of figures, drawn from 0 (`low`) to 1 (`high`).

    Attributes:
        low, high: of the range; both positive on a logarithmic axis.
        ticks: round figures within it.
        log: whether equal ratios take equal room.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Where `value` stands, 0..1 within the range."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(values: Iterable[float]) -> Axis:
    """An axis from 0 to a round figure at or above the largest value."""
    top = max([value for value in values if math.isfinite(value)], default=0.0)
    top = top if top > 0 else 1.0
    step = _step(top / (MOST_TICKS - 1))
    count = math.ceil(top / step - 1e-9)
    return Axis(0.0, step * count, tuple(step * index for index in range(count + 1)))


def logarithmic(values: Iterable[float]) -> Axis:
    """An axis whose range encloses all positive values between two round figures."""
    positive = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    low, high = min(positive), max(positive)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
    rounds = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    start = max(value for value in rounds if value <= low * (1 + 1e-9))
    end = min(value for value in rounds if value > start and value >= high * (1 - 1e-9))
    ticks = [value for value in rounds if start <= value <= end]
    if len(ticks) > MOST_TICKS:
        tens = [value for value in ticks if math.isclose(math.log10(value) % 1, 0, abs_tol=1e-9)]
        ticks = tens[:: math.ceil(len(tens) / MOST_TICKS)]
    return Axis(start, end, tuple(ticks), log=True)


def figure(value: float) -> str:
    """A tick in words, without digits that say nothing."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}" if value >= 1000 else f"{round(value, 6):g}"


def _step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5, 10 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(digit * power for digit in (1, 2, 2.5, 5, 10, 20) if digit * power >= least * 0.999)
