"""Plots of the scenarios, of cold starts and of stages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import median
from typing import TypeVar

from ...scenario_results import ColdStart, Offline, ScenarioResults, Server
from ..markup import Markup, joined
from ..wording import milliseconds
from .axes import Axis, linear
from .curves import COLORS, Curve, Point, curve_chart, legend
from .rows import Row, row_chart, stack

Kind = TypeVar("Kind", Offline, Server)

FAR_ABOVE = 3.0  # times the bound; what is slower than that is drawn at the top


def server(sections: ScenarioResults) -> Markup | None:
    """p99 against the rate of arrivals, with the bound."""
    rows = sections.server
    if not rows:
        return None
    bound = max(row.bound_ms for row in rows)
    top = FAR_ABOVE * bound
    across = linear(row.rate for row in rows)
    up = linear([bound, *(min(row.p99, top) for row in rows)])
    curves = [
        Curve(name, [_arrivals(row, top) for row in _until_beyond(found, top)])
        for name, found in _grouped(rows).items()
    ]
    name = f"bound of {milliseconds(bound)} ms"
    return curve_chart(
        curves,
        across,
        up,
        units=("arrivals per second", "p99 in ms"),
        reference=([(across.low, bound), (across.high, bound)], name),
    )


def _until_beyond(rows: Sequence[Server], top: float) -> list[Server]:
    """By rate, up to the first whose p99 is beyond `top`: from there all are."""
    ordered = sorted(rows, key=lambda row: row.rate)
    within = list(itertools.takewhile(lambda row: row.p99 <= top, ordered))
    return ordered[: len(within) + 1]


def _arrivals(row: Server, top: float) -> Point:
    shed = f", {row.shed} of {row.arrivals} shed" if row.shed else ""
    title = f"{row.rate:.2f} per second, p99 {milliseconds(row.p99)} ms{shed}"
    return Point(row.rate, min(row.p99, top), title, hollow=not row.holds)


def offline(sections: ScenarioResults) -> Markup | None:
    """Images per second by batch size."""
    rows = sections.offline
    if not rows:
        return None
    curves = [
        Curve(name, [_batch(row) for row in sorted(found, key=lambda row: row.batch)])
        for name, found in _grouped(rows).items()
    ]
    batches = tuple(sorted({float(row.batch) for row in rows}))
    return curve_chart(
        curves,
        Axis(batches[0] / 1.3, batches[-1] * 1.3, batches, log=True),
        linear(row.images_per_second for row in rows),
        units=("images per call, logarithmic", "images per second"),
    )


def _batch(row: Offline) -> Point:
    title = f"batch {row.batch}, {row.images_per_second:.2f} images/s"
    return Point(row.batch, row.images_per_second, title)


def cold_start(sections: ScenarioResults) -> Markup | None:
    """Imports, loading and the first image, one after the other."""
    return _stacked({row.contender: _start(row) for row in sections.cold_start}, "ms")


def _start(row: ColdStart) -> list[tuple[str, float]]:
    named = [("imports", row.import_ms), ("load", row.load_ms), ("first image", row.first_ms)]
    return [(name, median(samples)) for name, samples in named if samples]


def stages(sections: ScenarioResults) -> Markup | None:
    """The stages of a request, one after the other."""
    bars: dict[str, list[tuple[str, float]]] = {}
    for row in sections.stages:
        if row.samples_ms:
            bars.setdefault(row.contender, []).append((row.stage, median(row.samples_ms)))
    return _stacked(bars, "ms")


def _stacked(bars: dict[str, list[tuple[str, float]]], unit: str) -> Markup | None:
    if not bars:
        return None
    names = list(dict.fromkeys(name for parts in bars.values() for name, _ in parts))
    colors = {name: index % COLORS for index, name in enumerate(names)}
    totals = {name: sum(amount for _, amount in parts) for name, parts in bars.items()}
    axis = linear(totals.values())
    rows = [
        Row(name, f"{milliseconds(totals[name])} ms", stack(axis, parts, colors))
        for name, parts in bars.items()
    ]
    return joined(legend(names, bars=True), row_chart(rows, axis, unit=unit))


def _grouped(rows: Sequence[Kind]) -> dict[str, list[Kind]]:
    groups: dict[str, list[Kind]] = {}
    for row in rows:
        groups.setdefault(row.contender, []).append(row)
    return groups
