"""Charts of one figure against another, a curve per contender.

As in `rows`, places along the horizontal axis are percentages and heights are pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ..markup import Markup, joined, percent, tag
from .axes import Axis, figure

HEIGHT, TOP = 240, 8
SCALE = 46  # pixels for the figures of the vertical axis
COLORS = 7
# Around the origin, so that neither colour nor shape alone tells curves apart.
SHAPES = ("M-4 -4H4V4H-4Z", "M0 -5.5L5 4H-5Z", "M0 -5.5L5.5 0L0 5.5L-5.5 0Z", "M0 5.5L5 -4H-5Z")


@dataclass(frozen=True, slots=True)
class Point:
    """One measured point.

    Attributes:
        x, y: its place, in the units of the axes.
        title: what it says when pointed at.
        hollow: whether it is one that fell short.
    """

    x: float
    y: float
    title: str = ""
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve.

    Attributes:
        name: for the legend.
        points: from left to right.
        joined: whether lines join the points.
        fit: a line beside the points, as (x, y).
    """

    name: str
    points: Sequence[Point]
    joined: bool = True
    fit: Sequence[tuple[float, float]] = ()


def curve_chart(
    curves: Sequence[Curve],
    across: Axis,
    up: Axis,
    *,
    units: tuple[str, str],
    reference: tuple[Sequence[tuple[float, float]], str] | None = None,
) -> Markup:
    """All curves with their legend.

    Args:
        curves: each with a colour and a shape of its own.
        across: the horizontal axis.
        up: the vertical one.
        units: what they count.
        reference: a line to compare with, as (x, y), and its name.
    """
    figures = (
        tag("text", figure(tick), x=SCALE - 8, y=_height(up, tick) + 4, text_anchor="end")
        for tick in up.ticks
    )
    rules = [_rule(up, tick) for tick in up.ticks]
    lines = _path(reference[0], across, up, "reference") if reference else None
    drawn = [_curve(curve, index, across, up) for index, curve in enumerate(curves)]
    words = [
        tag(
            "text",
            figure(tick),
            x=percent(across.place(tick)),
            y=HEIGHT + TOP + 16,
            text_anchor="middle",
        )
        for tick in across.ticks
    ]
    label = f"{units[1]} against {units[0]}: {', '.join(curve.name for curve in curves)}"
    note = f"{units[0]}; dashed line: {reference[1]}" if reference else units[0]
    return tag(
        "div",
        legend([curve.name for curve in curves]),
        tag("div", units[1], class_="unit up"),
        tag(
            "div",
            tag("svg", *figures, width=SCALE, height=HEIGHT + TOP, aria_hidden="true"),
            tag(
                "svg",
                *rules,
                lines,
                *drawn,
                *words,
                width="100%",
                height=HEIGHT + TOP + 20,
                role="img",
                aria_label=label,
            ),
            class_="scaled",
        ),
        tag("div", note, class_="unit"),
        class_="chart",
    )


def legend(names: Sequence[str], *, bars: bool = False) -> Markup:
    """Names with their colours, and shapes unless they are parts of bars."""
    entries = []
    for index, name in enumerate(names):
        sign = (
            tag("rect", width=12, height=12, class_="bar")
            if bars
            else tag("g", _sign(index), transform="translate(7 7)")
        )
        swatch = tag("svg", sign, width=14, height=14, class_=f"c{index % COLORS}")
        entries.append(tag("li", swatch, " ", name))
    return tag("ul", *entries, class_="legend")


def _curve(curve: Curve, index: int, across: Axis, up: Axis) -> Markup:
    places = [(point.x, point.y) for point in curve.points]
    signs = [
        tag(
            "svg",
            tag("title", f"{curve.name}: {point.title}"),
            _sign(index, hollow=point.hollow),
            x=percent(across.place(point.x)),
            y=_height(up, point.y),
            overflow="visible",
        )
        for point in curve.points
    ]
    return tag(
        "g",
        _path(places, across, up, "curve") if curve.joined else None,
        _path(curve.fit, across, up, "fit"),
        *signs,
        class_=f"c{index % COLORS}",
    )


def _sign(index: int, *, hollow: bool = False) -> Markup:
    kind = "sign hollow" if hollow else "sign"
    shape = index % (len(SHAPES) + 1)
    if shape == 0:
        return tag("circle", r=4.5, class_=kind)
    return tag("path", d=SHAPES[shape - 1], class_=kind)


def _path(places: Sequence[tuple[float, float]], across: Axis, up: Axis, kind: str) -> Markup:
    """Straight lines from place to place: a path could not have percentages."""
    return joined(
        *(
            tag(
                "line",
                x1=percent(across.place(start[0])),
                y1=_height(up, start[1]),
                x2=percent(across.place(end[0])),
                y2=_height(up, end[1]),
                class_=kind,
            )
            for start, end in itertools.pairwise(places)
        )
    )


def _rule(up: Axis, tick: float) -> Markup:
    height = _height(up, tick)
    return tag("line", x1="0%", x2="100%", y1=height, y2=height, class_="grid")


def _height(up: Axis, value: float) -> float:
    return TOP + HEIGHT * (1 - up.place(value))
