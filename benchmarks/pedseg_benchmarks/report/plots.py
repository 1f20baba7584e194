"""The plots of a benchmark; a contender whose answers are wrong is in none of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from itertools import chain
from statistics import median

from pedseg_train.presentation.charts import (
    Curve,
    Row,
    box,
    curve_chart,
    interval,
    row_chart,
    stack,
)
from pedseg_train.presentation.figures import BLUE, COLORS, GREY, Figure

from ..results import BenchmarkResult, ContenderResult
from ..scenario_results import ColdStart, ScenarioResults, Server
from .section_tables import by_contender
from .wording import accuracy, full_name, milliseconds, ratio, verdict

WIDE = 8.0  # times of the slowest over the fastest, from which a linear axis shows nothing
FAR_ABOVE = 3.0  # times the bound; what is slower than that is drawn at the top


def distributions(result: BenchmarkResult) -> Figure | None:
    """Every timed call, the fastest contender first."""
    timed = [(row, row.latency.p50) for row in result.contenders if row.latency]
    if not timed:
        return None
    samples = {row.name: list(chain.from_iterable(row.samples_ms)) for row, _ in timed}
    medians = [p50 for _, p50 in timed]
    is_wide = max(medians) > WIDE * min(medians)
    rows = [
        Row(
            full_name(row),
            f"{milliseconds(p50)} ms · {_correctness(row)}",
            partial(
                box, samples=samples[row.name], color=GREY if row.judged_by == "truth" else BLUE
            ),
        )
        for row, p50 in sorted(timed, key=lambda pair: pair[1])
    ]
    plot = row_chart(
        rows,
        label="Every timed call",
        unit="ms per image, logarithmic" if is_wide else "ms per image",
        values=chain.from_iterable(samples.values()),
        log=is_wide,
    )
    return Figure(
        plot,
        "Every timed call",
        "A point is a call (at most 240 are drawn per row, evenly over the ranks), the box holds "
        "the middle half, the line 5 % to 95 %, the tick is the median. Images of different sizes "
        "make several heaps.",
    )


def ratios(result: BenchmarkResult) -> Figure | None:
    """How many times as fast as eager, with intervals, the fastest first."""
    found = [(row, row.speedup) for row in result.contenders if row.speedup]
    if not found:
        return None
    rows = [
        Row(
            full_name(row),
            f"{ratio(speedup)} · {_correctness(row)}",
            partial(interval, value=speedup.median, low=speedup.low, high=speedup.high),
        )
        for row, speedup in sorted(found, key=lambda pair: -pair[1].median)
    ]
    plot = row_chart(
        rows,
        label="Times as fast as eager",
        unit="times as fast as eager",
        values=[speedup.high for _, speedup in found],
        reference=(1.0, "eager"),
    )
    return Figure(
        plot,
        "Times as fast as eager",
        "Median over calls, each beside eager's on the same image in the same round, with a 95 % "
        "bootstrap interval. Where it reaches the dashed line, no difference was shown.",
    )


def _correctness(row: ContenderResult) -> str:
    """The verdict, and the AP where it is known: no speed stands without them."""
    ap = accuracy(row)
    return f"{verdict(row)} · AP {ap}" if ap else verdict(row)


def server(sections: ScenarioResults) -> Figure | None:
    """p99 against the rate of arrivals, with the bound."""
    rows = sections.server
    if not rows:
        return None
    bound = max(row.bound_ms for row in rows)
    curves = [
        _arrivals(name, found, FAR_ABOVE * bound) for name, found in by_contender(rows).items()
    ]
    return curve_chart(
        curves,
        units=("arrivals per second", "p99 in ms"),
        values=([row.rate for row in rows], [bound]),
        reference=lambda left, right: [(left, bound), (right, bound)],
        dashed=f"bound of {milliseconds(bound)} ms",
    )


def _arrivals(name: str, rows: Sequence[Server], top: float) -> Curve:
    """By rate, up to the first whose p99 is beyond `top`: from there all are."""
    ordered = sorted(rows, key=lambda row: row.rate)
    within = len(list(itertools.takewhile(lambda row: row.p99 <= top, ordered)))
    shown = ordered[: within + 1]
    points = []
    for row in shown:
        shed = f", {row.shed} of {row.arrivals} shed" if row.shed else ""
        text = f"{row.rate:.2f} per second, p99 {milliseconds(row.p99)} ms{shed}"
        points.append((row.rate, min(row.p99, top), text))
    return Curve(name, points, frozenset(i for i, row in enumerate(shown) if not row.holds))


def offline(sections: ScenarioResults) -> Figure | None:
    """Images per second by batch size."""
    rows = sections.offline
    if not rows:
        return None
    curves = [
        Curve(
            name,
            [
                (
                    row.batch,
                    row.images_per_second,
                    f"batch {row.batch}, {row.images_per_second:.2f} images/s",
                )
                for row in sorted(found, key=lambda row: row.batch)
            ],
        )
        for name, found in by_contender(rows).items()
    ]
    return curve_chart(
        curves,
        units=("images per call, logarithmic", "images per second"),
        log=(True, False),
        ticks=sorted({row.batch for row in rows}),
    )


def cold_start(sections: ScenarioResults) -> Figure | None:
    """Imports, loading and the first image, one after the other."""

    def parts(row: ColdStart) -> list[tuple[str, float]]:
        named = (("imports", row.import_ms), ("load", row.load_ms), ("first image", row.first_ms))
        return [(name, median(samples)) for name, samples in named if samples]

    return _stacked("Cold start", {row.contender: parts(row) for row in sections.cold_start})


def stages(sections: ScenarioResults) -> Figure | None:
    """The stages of a request, one after the other."""
    measured = by_contender(row for row in sections.stages if row.samples_ms)
    return _stacked(
        "Stages",
        {name: [(r.stage, median(r.samples_ms)) for r in rows] for name, rows in measured.items()},
    )


def _stacked(label: str, bars: dict[str, list[tuple[str, float]]]) -> Figure | None:
    if not bars:
        return None
    names = list(dict.fromkeys(name for parts in bars.values() for name, _ in parts))
    totals = {name: sum(amount for _, amount in parts) for name, parts in bars.items()}
    rows = [
        Row(name, f"{milliseconds(totals[name])} ms", partial(stack, parts=parts, names=names))
        for name, parts in bars.items()
    ]
    plot = row_chart(rows, label=label, unit="ms", values=totals.values())
    return Figure(
        plot, legend=[("■", place % len(COLORS) + 1, name) for place, name in enumerate(names)]
    )


def shares(result: BenchmarkResult) -> Figure | None:
    """The rate of every contender as a bar, beside the machine's."""
    machine, groups = result.sections.machine, by_contender(result.sections.limits)
    if machine is None or not groups:
        return None
    peak = machine.matmul_gflops
    reached = {name: median(row.gflops for row in rows) for name, rows in groups.items()}
    rows = [
        Row(
            name,
            f"{rate:.0f} GFLOP/s · {rate / peak:.0%}",
            partial(stack, parts=[("GFLOP/s", rate)], names=["GFLOP/s"]),
        )
        for name, rate in sorted(reached.items(), key=lambda pair: -pair[1])
    ]
    plot = row_chart(
        rows,
        label="Rate reached",
        unit="GFLOP/s",
        values=reached.values(),
        reference=(peak, f"the machine's own {peak:.0f} GFLOP/s"),
    )
    return Figure(plot, "Rate reached")


def roofline(result: BenchmarkResult) -> Figure | None:
    """The rates against operations per byte of the file, below what the machine allows there.

    A file is read at least once per image, so that a point stands at the right of its true place:
    what intermediate results cost is not counted.
    """
    machine, groups = result.sections.machine, by_contender(result.sections.limits)
    sizes = {row.name: row.size_bytes for row in result.contenders}
    curves = []
    for name, rows in groups.items():
        if sizes.get(name):
            rate, gflop = median(row.gflops for row in rows), median(row.gflop for row in rows)
            text = f"{rate:.0f} GFLOP/s, {rows[0].share:.0%} of the machine's"
            curves.append(Curve(name, [(gflop * 1e9 / sizes[name], rate, text)]))
    if machine is None or not curves:
        return None
    peak, bandwidth = machine.matmul_gflops, machine.bandwidth_gb_per_s
    ridge = peak / bandwidth
    return curve_chart(
        curves,
        units=("operations per byte of the file, logarithmic", "GFLOP/s, logarithmic"),
        log=(True, True),
        values=([ridge / 4], [peak, peak / 4]),
        reference=lambda left, right: [(left, left * bandwidth), (ridge, peak), (right, peak)],
        dashed=f"{bandwidth:.0f} GB/s, then {peak:.0f} GFLOP/s",
        title="Roofline",
        note="Bytes are those of the file, read once per image. Intermediate results move more, so "
        "that the true places lie further left, nearer to the slope that bandwidth allows.",
    )
