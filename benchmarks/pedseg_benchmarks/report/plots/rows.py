"""Charts of one row per contender, all on one horizontal axis.

Places along the axis are percentages and everything else is pixels, so that a chart fills a wide
screen and a phone alike and its words keep their size. Labels are HTML: they break over lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..markup import Markup, joined, percent, tag
from .axes import Axis, figure

BAND = 30  # pixels of height per row
MIDDLE = BAND / 2
MOST_POINTS = 240  # drawn per row


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        name: who it is about.
        aside: what stands at its right, e.g. the verdict and the figure.
        marks: SVG, at heights 0..`BAND`.
    """

    name: str
    aside: str
    marks: Markup


def row_chart(
    rows: Sequence[Row], axis: Axis, *, unit: str, reference: tuple[float, str] | None = None
) -> Markup:
    """All rows and their axis.

    Args:
        rows: from top to bottom.
        axis: shared by all.
        unit: what the axis counts.
        reference: a figure to mark across all rows, and its name.
    """
    grid = joined(*(_upright(axis.place(tick), "grid") for tick in axis.ticks))
    line = _upright(axis.place(reference[0]), "reference") if reference else None
    drawn = [
        tag(
            "div",
            tag("div", tag("b", row.name), tag("span", row.aside), class_="label"),
            _svg(BAND, grid, row.marks, line, label=f"{row.name}: {row.aside}"),
            class_="row",
        )
        for row in rows
    ]
    note = f"{unit}; dashed line: {reference[1]}" if reference else unit
    return tag("div", *drawn, _ticks(axis), tag("div", note, class_="unit"), class_="chart")


def box(axis: Axis, samples: Sequence[float], *, color: int) -> Markup:
    """Every sample as a point, the quartiles as a box, 5 % to 95 % as a line, the median."""
    values = np.sort(np.asarray(samples, float))
    shown = values
    if len(values) > MOST_POINTS:  # evenly over the ranks; the extremes always stay
        shown = values[np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(int)]
    low, left, median, right, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
    points = [
        # Steps of the golden ratio spread neighbours evenly over the height.
        tag("circle", cx=percent(axis.place(x)), cy=4 + (BAND - 8) * (i * 0.618034 % 1), r=1.8)
        for i, x in enumerate(shown.tolist())
    ]
    start, end = axis.place(left), axis.place(right)
    return tag(
        "g",
        tag("g", *points, class_="points"),
        _level(axis.place(low), axis.place(high), "whisker"),
        tag(
            "rect",
            x=percent(start),
            width=percent(max(end - start, 0.0)),
            y=MIDDLE - 7,
            height=14,
            class_="box",
        ),
        _upright(axis.place(median), "median", MIDDLE - 10, MIDDLE + 10),
        class_=f"c{color}",
    )


def interval(axis: Axis, value: float, low: float, high: float, *, color: int) -> Markup:
    """An estimate as a point in its interval."""
    ends = (_upright(axis.place(x), "whisker", MIDDLE - 8, MIDDLE + 8) for x in (low, high))
    return tag(
        "g",
        _level(axis.place(low), axis.place(high), "whisker"),
        *ends,
        tag("circle", cx=percent(axis.place(value)), cy=MIDDLE, r=4, class_="dot"),
        class_=f"c{color}",
    )


def stack(axis: Axis, parts: Sequence[tuple[str, float]], colors: dict[str, int]) -> Markup:
    """Amounts one after the other from zero, as one bar."""
    bars, total = [], 0.0
    for name, amount in parts:
        bars.append(
            tag(
                "rect",
                tag("title", f"{name}: {amount:.1f}"),
                x=percent(axis.place(total)),
                width=percent(axis.place(total + amount) - axis.place(total)),
                y=5,
                height=BAND - 10,
                class_=f"bar c{colors[name]}",
            )
        )
        total += amount
    return joined(*bars)


def _svg(height: float, *children: Markup | None, label: str) -> Markup:
    return tag("svg", *children, width="100%", height=height, role="img", aria_label=label)


def _ticks(axis: Axis) -> Markup:
    words = (
        tag("text", figure(tick), x=percent(axis.place(tick)), y=12, text_anchor="middle")
        for tick in axis.ticks
    )
    return tag("svg", *words, width="100%", height=16, aria_hidden="true")


def _upright(place: float, kind: str, top: float = 0, bottom: float = BAND) -> Markup:
    return tag("line", x1=percent(place), x2=percent(place), y1=top, y2=bottom, class_=kind)


def _level(start: float, end: float, kind: str) -> Markup:
    return tag("line", x1=percent(start), x2=percent(end), y1=MIDDLE, y2=MIDDLE, class_=kind)
