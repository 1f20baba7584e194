"""The plots of a run and of an evaluation, each drawn on given axes in `presentation`'s style.

Box and mask differ by colour, what is measured of them by line style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..evaluation.analysis import Analysis
from ..evaluation.matches import AT50, AT75, RECALLS
from ..evaluation.outcomes import FalseNegative, FalsePositive
from ..presentation.charts import legend_below, scale
from ..presentation.figures import BLUE, COLORS, INK, ORANGE, VERMILION
from .facts import Record

KINDS = {"bbox": ("box", BLUE), "segm": ("mask", ORANGE)}
SIZES = (0, 32, 96)  # where COCO's small, medium and large begin, root of the area in pixels


def draw_losses(axes: Axes, history: Sequence[Record]) -> None:
    """Training losses by epoch, their sum in ink; on a logarithmic axis."""
    epochs = _epochs(history)
    names = sorted(history[-1]["losses"], key=lambda name: name != "loss")
    drawn: list[float] = []
    for place, name in enumerate(names):
        values = [record["losses"].get(name, np.nan) for record in history]
        drawn += values
        if name == "loss":
            axes.plot(epochs, values, marker=".", color=INK, linewidth=2, label="sum")
        else:
            color = COLORS[(place - 1) % len(COLORS)]
            title = name.removeprefix("loss_").replace("_", " ")
            axes.plot(epochs, values, marker=".", color=color, label=title)
    scale(axes.yaxis, drawn, log=True)
    _by_epoch(axes, "training loss")


def draw_rate(axes: Axes, history: Sequence[Record]) -> None:
    """Learning rate at the end of every epoch."""
    rates = [record["lr"] for record in history]
    axes.plot(_epochs(history), rates, marker=".", color=BLUE)
    scale(axes.yaxis, rates, log=True)
    _by_epoch(axes, "learning rate")


def draw_accuracy(
    axes: Axes,
    history: Sequence[Record],
    *,
    best: int | None = None,
    analysis: Analysis | None = None,
) -> None:
    """AP and AP50 of boxes and masks by epoch.

    Args:
        axes: to draw on.
        history: one record per epoch.
        best: the epoch of the checkpoint that was kept, to be marked.
        analysis: of that checkpoint, for the intervals of its AP.
    """
    epochs = _epochs(history)
    for kind, (title, color) in KINDS.items():
        for number, style in (("AP", "-"), ("AP50", "--")):
            values = [record[kind][number] for record in history]
            numbers = [np.nan if value is None else value for value in values]
            axes.plot(epochs, numbers, style, marker=".", color=color, label=f"{title} {number}")
        interval = analysis.intervals.get(kind, {}).get("AP") if analysis else None
        if best is not None and interval is not None:
            axes.vlines(best, interval.low, interval.high, color=color, linewidth=5, alpha=0.35)
    if best is not None:
        axes.axvline(best, color=INK, linewidth=0.8, linestyle=":", label="kept")
    axes.set_ylim(0, 1)
    _by_epoch(axes, "accuracy after each epoch")


def draw_time(axes: Axes, history: Sequence[Record]) -> None:
    """Seconds of training and of measuring by epoch."""
    epochs = _epochs(history)
    trained = [record["seconds"] for record in history]
    measured = [record["evaluation_seconds"] for record in history]
    axes.bar(epochs, trained, color=BLUE, label="training", width=0.7)
    axes.bar(epochs, measured, bottom=trained, color=ORANGE, label="measuring", width=0.7)
    _by_epoch(axes, "seconds per epoch")


def draw_precision_recall(axes: Axes, analysis: Analysis) -> None:
    """Interpolated precision over recall at overlaps of 0.5 and 0.75."""
    for kind, (title, color) in KINDS.items():
        for place, overlap, style in ((AT50, 0.5, "-"), (AT75, 0.75, "--")):
            axes.plot(
                RECALLS,
                analysis.precision[kind][place],
                style,
                color=color,
                label=f"{title}, IoU {overlap:g}",
            )
    point = analysis.best["segm"]
    if point is not None:
        axes.plot(
            point.recall, point.precision, "o", color=INK, markersize=5,
            label=f"best F1, score {point.score:.2f}",
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall: share of people found")
    _finish(axes, "precision: share of detections that are right")
    legend_below(axes)


def draw_errors(axes: Axes, analysis: Analysis) -> None:
    """Misses and false alarms by reason, of masks."""
    errors = analysis.errors("segm")
    bars = [
        *(
            (f"missed: {reason}", errors["missed"][reason], VERMILION)
            for reason in map(str, FalseNegative)
        ),
        *(
            (f"false: {reason}", errors["false_alarms"][reason], BLUE)
            for reason in map(str, FalsePositive)
        ),
    ]
    if not analysis.result.classes:  # with one class nothing can be of another
        bars = [bar for bar in bars if "class" not in bar[0]]
    names, counts, colors = zip(*reversed(bars), strict=True)
    drawn = axes.barh(names, counts, color=colors)
    axes.bar_label(drawn, padding=3, color=INK)
    axes.set_xlim(0, max(1, *counts) * 1.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, f"errors at a score of {analysis.score:g}")
    axes.grid(visible=False, axis="y")


def draw_sizes(axes: Axes, sizes: Mapping[str, Sequence[float]]) -> None:
    """How large the instances of each part are, as shares of the part.

    Args:
        axes: to draw on.
        sizes: part -> root of the area of every instance, in pixels.
    """
    everything = np.concatenate([np.asarray(values, np.float64) for values in sizes.values()])
    top = float(everything.max(initial=1.0))
    edges = np.linspace(0, top, 25).tolist()
    for color, style, (part, values) in zip(COLORS, ("-", "--", ":"), sizes.items(), strict=False):
        weights = np.full(len(values), 1 / max(1, len(values)))
        label = f"{part} ({len(values)})"
        axes.hist(values, edges, weights=weights, histtype="step", color=color, linestyle=style,
                  linewidth=1.8, label=label)  # fmt: skip
    for limit in SIZES[1:]:
        if limit < top:
            axes.axvline(limit, color=INK, linewidth=0.8, linestyle=":")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("root of the area in pixels; dotted: COCO's small, medium, large")
    _finish(axes, "size of the instances")


def draw_crowding(axes: Axes, counts: Mapping[str, Sequence[int]]) -> None:
    """How many instances an image has, by part, as shares of the part."""
    most = max((max(values, default=0) for values in counts.values()), default=0)
    width = 0.8 / max(1, len(counts))
    for place, (color, (part, values)) in enumerate(zip(COLORS, counts.items(), strict=False)):
        shares = np.bincount(values, minlength=most + 1) / max(1, len(values))
        offset = (place - (len(counts) - 1) / 2) * width
        axes.bar(np.arange(most + 1) + offset, shares, width, color=color,
                 label=f"{part} ({len(values)})")  # fmt: skip
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("instances in an image")
    _finish(axes, "images by how many they show")


def _epochs(history: Sequence[Record]) -> list[int]:
    return [record["epoch"] for record in history]


def _by_epoch(axes: Axes, title: str) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, title)
    if axes.get_legend() is not None:
        legend_below(axes)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
