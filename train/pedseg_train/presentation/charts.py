"""Axes of a kind: a labelled row per thing, curves with a shape each, round ticks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from .figures import FAINT, INK, LINE, PAPER, SHAPES, SIZE, Figure, color_of, shape_legend, svg, tip

MOST_POINTS = 240  # drawn of a row's samples
MOST_LETTERS = 56  # of a row's label on one line
WORDS, BAND, GAP = 0.16, 0.18, 0.09  # inches of height: a line of a row's label, its marks, between
BELOW = 0.45  # inches of height: the axis of rows and what it counts
DASHES = (0, (4, 3))
WIDE = 30.0  # times, from which a logarithmic axis has ticks at powers of ten alone


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a chart.

    Attributes:
        name: what it is about.
        remark: what stands at its right, e.g. a figure and a verdict.
        draw: draws its marks on axes, around a height; heights are in inches.
    """

    name: str
    remark: str
    draw: Callable[[Axes, float], object]


@dataclass(frozen=True, slots=True)
class Curve:
    """Points that belong together.

    Attributes:
        name: for the legend.
        points: x, y, and what a point says when pointed at.
        hollow: places among them that are drawn hollow.
        joined: whether lines join them.
        fit: a line beside them, as (x, y).
    """

    name: str
    points: Sequence[tuple[float, float, str]]
    hollow: frozenset[int] = frozenset()
    joined: bool = True
    fit: Sequence[tuple[float, float]] = ()


def row_chart(
    rows: Sequence[Row],
    *,
    label: str,
    unit: str,
    values: Iterable[float],
    log: bool = False,
    reference: tuple[float, str] | None = None,
) -> Markup:
    """Rows on one horizontal axis, each under its name and remark.

    Args:
        rows: from top to bottom.
        label: what a screen reader calls the chart.
        unit: what the axis counts.
        values: that the axis has to hold.
        log: whether it is logarithmic, else it begins at 0.
        reference: a value to mark across all rows, and its name.
    """
    names = [_short(row.name) for row in rows]
    letters = [len(name) + len(row.remark) for name, row in zip(names, rows, strict=True)]
    lines = 2 if max(letters) > MOST_LETTERS else 1
    height = lines * WORDS + BAND + GAP

    def draw(axes: Axes) -> None:
        words: dict[str, Any] = {
            "transform": axes.get_yaxis_transform(), "va": "top", "fontsize": 8, "in_layout": False,
        }  # fmt: skip
        tops = [index * height for index in range(len(rows))]
        for top, name, row in zip(tops, names, rows, strict=True):
            axes.text(0, top, name, weight="bold", **words)
            axes.text(
                2 - lines, top + (lines - 1) * WORDS, row.remark, color=FAINT,
                ha=("right", "left")[lines - 1], **words,
            )  # fmt: skip
            row.draw(axes, top + lines * WORDS + BAND / 2)
        scale(axes.xaxis, [*values, *([reference[0]] if reference else [])], log=log)
        axes.grid(visible=False)  # but behind the marks alone, so that words stay readable
        bands = [(top + lines * WORDS, top + lines * WORDS + BAND) for top in tops]
        for low, high in bands:
            axes.vlines(axes.get_xticks(), low, high, color=LINE, linewidth=0.6, zorder=0)
            if reference:
                axes.vlines(reference[0], low, high, color=INK, linewidth=1, linestyle=DASHES)
        axes.set_ylim(height * len(rows), 0)
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(unit + (f"; dashed line: {reference[1]}" if reference else ""))

    return svg(draw, label=label, size=(SIZE[0], height * len(rows) + BELOW))


def _short(name: str) -> str:
    """On one line."""
    name = " ".join(name.split())
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


def interval(axes: Axes, at: float, value: float, low: float, high: float) -> None:
    """An estimate as a point in its interval."""
    axes.errorbar(
        [value], [at], xerr=[[value - low], [high - value]], fmt="o", color=color_of(0),
        markersize=4.5, capsize=4,
    )  # fmt: skip


def box(axes: Axes, at: float, samples: Sequence[float], *, color: str) -> None:
    """Samples as points, the quartiles as a box, 5 % to 95 % as a line, the median as a tick."""
    values = np.sort(np.asarray(samples, float))
    shown = values
    if len(values) > MOST_POINTS:  # evenly over the ranks; the extremes always stay
        shown = values[np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(int)]
    low, left, median, right, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
    # Steps of the golden ratio spread neighbours evenly over the height.
    heights = at + BAND * (np.arange(len(shown)) * 0.618034 % 1 - 0.5)
    _dots(axes, shown, heights, color)
    axes.plot([low, high], [at, at], color=color, linewidth=1.2)
    axes.fill_between([left, right], at - BAND / 3, at + BAND / 3, color=color, alpha=0.3)
    axes.plot([median, median], [at - BAND / 2, at + BAND / 2], color=color, linewidth=2.2)


def _dots(axes: Axes, across: np.ndarray, up: np.ndarray, color: str) -> None:
    """Points as one path, which is a tenth of the size of as many elements."""
    places = np.repeat(np.stack([across, up], 1), 2, axis=0)
    path = Path(places, [Path.MOVETO, Path.LINETO] * len(across))
    path.should_simplify = False
    axes.add_patch(
        PathPatch(path, fill=False, edgecolor=color, linewidth=2.4, alpha=0.4, capstyle="round")
    )


def stack(axes: Axes, at: float, parts: Sequence[tuple[str, float]], names: Sequence[str]) -> None:
    """Amounts one after the other from zero, each in the colour of its place in `names`."""
    total = 0.0
    for name, amount in parts:
        (bar,) = axes.barh(
            at, amount, BAND, left=total, color=color_of(names.index(name)), linewidth=0
        )
        tip(bar, f"{name}: {amount:.1f}")
        total += amount


def curve_chart(
    curves: Sequence[Curve],
    *,
    units: tuple[str, str],
    log: tuple[bool, bool] = (False, False),
    ticks: Sequence[float] | None = None,
    reference: Callable[[float, float], Sequence[tuple[float, float]]] | None = None,
    dashed: str = "",
    values: tuple[Sequence[float], Sequence[float]] = ((), ()),
    title: str = "",
    note: str = "",
) -> Figure:
    """Curves, each with a colour and a shape by its order, and their legend.

    Args:
        curves: to draw.
        units: what the axes count, across and up.
        log: which of them are logarithmic; others begin at 0.
        ticks: across, where they are not to be chosen.
        reference: gives a line to compare with from the ends of the axis across.
        dashed: the name of that line.
        values: that the axes have to hold beside the points.
        title: of the figure.
        note: of the figure.
    """

    def draw(axes: Axes) -> None:
        across = [x for curve in curves for x, _, _ in curve.points]
        up = [y for curve in curves for _, y, _ in curve.points]
        up += [y for curve in curves for _, y in curve.fit]
        scale(axes.xaxis, [*across, *values[0]], log=log[0], ticks=ticks)
        scale(axes.yaxis, [*up, *values[1]], log=log[1])
        for place, curve in enumerate(curves):
            _curve(axes, curve, color_of(place), SHAPES[place % len(SHAPES)])
        if reference:
            line = np.array(reference(*axes.get_xlim()))
            axes.plot(*line.T, color=INK, linewidth=1, linestyle=DASHES, scalex=False)
        axes.set_xlabel(units[0])
        axes.set_title(units[1], fontsize=8, color=FAINT)

    names = [curve.name for curve in curves]
    plot = svg(draw, label=f"{units[1]} against {units[0]}: {', '.join(names)}")
    return Figure(plot, title, note, shape_legend(names, dashed=dashed))


def _curve(axes: Axes, curve: Curve, color: str, shape: str) -> None:
    if curve.joined:
        axes.plot(*zip(*(point[:2] for point in curve.points), strict=True), color=color)
    if curve.fit:
        axes.plot(*zip(*curve.fit, strict=True), color=color, linewidth=1.2, alpha=0.75)
    for place, (x, y, text) in enumerate(curve.points):
        hollow = place in curve.hollow
        marker = Line2D(
            [x], [y], color=color, marker=shape, markersize=6.5, clip_on=False, zorder=3,
            markerfacecolor=PAPER if hollow else color,
            markeredgecolor=color if hollow else PAPER, markeredgewidth=1.5 if hollow else 0.7,
        )  # fmt: skip
        tip(marker, f"{curve.name}: {text}")
        axes.add_line(marker)


def scale(
    axis: Axis, values: Iterable[float], *, log: bool = False, ticks: Sequence[float] | None = None
) -> None:
    """An axis with round ticks that holds all values: from 0, or from below the least if `log`."""
    finite = [value for value in values if np.isfinite(value) and (value > 0 or not log)] or [1.0]
    low, high = min(finite), max(finite)
    axes, is_across = axis.axes, axis is axis.axes.xaxis
    if log:
        (axes.set_xscale if is_across else axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1,) if high / low > WIDE else (1, 2, 5)))
        low, high = low / 1.2, high * 1.2
    else:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        low, high = -0.02 * high if low == 0 else 0, (high or 1.0) * 1.05
    (axes.set_xlim if is_across else axes.set_ylim)(low, high)
    if ticks is not None:
        axis.set_ticks(ticks)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def number(value: float) -> str:
    """A tick in words, without digits that say nothing."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{round(value, 12):g}"


def legend_below(axes: Axes) -> None:
    """A legend where it hides nothing."""
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
