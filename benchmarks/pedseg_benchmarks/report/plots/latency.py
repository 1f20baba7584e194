"""One image per call: how the times spread, and how they compare with eager's."""

from __future__ import annotations

from itertools import chain

from ...results import BenchmarkResult, ContenderResult
from ..markup import Markup
from ..wording import accuracy, full_name, milliseconds, ratio, verdict
from .axes import linear, logarithmic
from .rows import Row, box, interval, row_chart

WIDE = 8.0  # times of the slowest over the fastest, from which a linear axis shows nobody
EAGER, OTHERS = 6, 0  # colours


def distributions(result: BenchmarkResult) -> Markup | None:
    """Every timed call, the fastest contender first."""
    timed = [row for row in result.contenders if row.latency]
    if not timed:
        return None
    samples = {row.name: list(chain.from_iterable(row.samples_ms)) for row in timed}
    every = list(chain.from_iterable(samples.values()))
    medians = {row.name: row.latency.p50 for row in timed if row.latency}
    is_wide = max(medians.values()) > WIDE * min(medians.values())
    axis = logarithmic(every) if is_wide else linear(every)
    rows = [
        Row(
            full_name(row),
            f"{milliseconds(medians[row.name])} ms · {_judged(row)}",
            box(axis, samples[row.name], color=EAGER if row.judged_by == "truth" else OTHERS),
        )
        for row in sorted(timed, key=lambda row: medians[row.name])
    ]
    return row_chart(rows, axis, unit="ms per image, logarithmic" if is_wide else "ms per image")


def ratios(result: BenchmarkResult) -> Markup | None:
    """How many times as fast as eager, with intervals, the fastest first."""
    found = [(row, row.speedup) for row in result.contenders if row.speedup]
    if not found:
        return None
    axis = linear([1.0, *(speedup.high for _, speedup in found)])
    rows = [
        Row(
            full_name(row),
            f"{ratio(speedup)} · {_judged(row)}",
            interval(axis, speedup.median, speedup.low, speedup.high, color=OTHERS),
        )
        for row, speedup in sorted(found, key=lambda pair: -pair[1].median)
    ]
    return row_chart(rows, axis, unit="times as fast as eager", reference=(1.0, "eager"))


def _judged(row: ContenderResult) -> str:
    """The verdict, and the AP where it is known: no speed stands without them."""
    ap = accuracy(row)
    return f"{verdict(row)} · AP {ap}" if ap else verdict(row)
