"""What a run looks like: curves by epoch, and test pictures with truth beside prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from pedseg_runtime.draw import draw_detections, draw_instances
from pedseg_runtime.files import replacing

from .data import SegmentationDataset
from .evaluation import Segment

PANEL_SCORE = 0.5
PANEL_HEIGHT = 360
GAP = 8
TITLE_HEIGHT = 28


def save_curves(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Losses, learning rate and AP by epoch, as a PNG.

    Args:
        path: of the picture.
        history: records of `engine.fit`, at least one.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display and without pyplot's global state
    losses, rate, accuracy = figure.subplots(1, 3)
    epochs = [record["epoch"] for record in history]
    for name in history[0]["losses"]:
        total = name == "loss"
        losses.plot(
            epochs,
            [record["losses"][name] for record in history],
            label="sum" if total else name.removeprefix("loss_"),
            color="black" if total else None,
            marker=".",
        )
    rate.plot(epochs, [record["lr"] for record in history], marker=".")
    rate.set_yscale("log")
    for kind, title in (("bbox", "box"), ("segm", "mask")):
        for number, style in (("AP", "-"), ("AP50", "--")):
            values = [record[kind][number] for record in history]
            accuracy.plot(
                epochs,
                [np.nan if value is None else value for value in values],
                style,
                label=f"{title} {number}",
                color="C0" if kind == "bbox" else "C1",
                marker=".",
            )
    accuracy.set_ylim(0, 1)
    for axes, title in ((losses, "training loss"), (rate, "learning rate"), (accuracy, "test AP")):
        _finish(axes, title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def save_panel(
    path: Path, segment: Segment, dataset: SegmentationDataset, indices: Sequence[int]
) -> None:
    """One row per picture, ground truth left and detections right, as a PNG.

    Args:
        path: of the picture.
        segment: one image, uint8 [H, W, 3] -> detections; those above a score of 0.5 are drawn.
        dataset: without random transforms.
        indices: the positions in `dataset` to show.
    """
    rows = []
    for index in indices:
        image = dataset.image(index)
        target = dataset[index][1]
        masks = np.asarray(target["masks"], dtype=np.bool_)
        boxes = np.asarray(target["boxes"], dtype=np.float32)
        truth = draw_instances(image, masks, boxes)
        found = draw_detections(image, segment(image).above(PANEL_SCORE))
        rows.append((_scaled(truth), _scaled(found)))
    with replacing(path) as temporary:
        _stack(rows).save(temporary)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _scaled(picture: Image.Image) -> Image.Image:
    """`picture` at the height of a row."""
    width = max(1, round(picture.width * PANEL_HEIGHT / picture.height))
    return picture.resize((width, PANEL_HEIGHT), Image.Resampling.LANCZOS)


def _stack(rows: Sequence[tuple[Image.Image, Image.Image]]) -> Image.Image:
    """Rows under the two titles; every column as wide as its widest picture."""
    column = max(truth.width for truth, _ in rows)
    height = TITLE_HEIGHT + len(rows) * (PANEL_HEIGHT + GAP)
    panel = Image.new("RGB", (2 * column + GAP, height), "white")
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(16)
    draw.text((4, 4), "ground truth", fill="black", font=font)
    draw.text((column + GAP + 4, 4), "detections", fill="black", font=font)
    for row, (truth, found) in enumerate(rows):
        top = TITLE_HEIGHT + row * (PANEL_HEIGHT + GAP)
        panel.paste(truth, (0, top))
        panel.paste(found, (column + GAP, top))
    return panel
