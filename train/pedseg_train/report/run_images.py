"""What a run looks like as PNG: curves by epoch, and images with truth beside detections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from pedseg_runtime.files import replacing

from ..evaluation import Annotated, Segment, record
from ..evaluation.outcomes import find_outcomes
from ..presentation.figures import save_png
from . import plots
from .gallery import draw_pair

PANEL_HEIGHT = 360
GAP = 8
TITLE_HEIGHT = 28


def save_curves(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Losses by part, learning rate, AP of boxes and masks, and time by epoch, as a PNG.

    Args:
        path: of the PNG file.
        history: records of `engine.fit`, at least one.
    """
    draws = (plots.draw_losses, plots.draw_accuracy, plots.draw_rate, plots.draw_time)
    with replacing(path) as temporary:
        save_png(temporary, [partial(draw, history=history) for draw in draws], size=(12, 7))


def save_panel(path: Path, segment: Segment, dataset: Annotated, indices: Sequence[int]) -> None:
    """One row per image, ground truth left and detections right, as a PNG.

    Misses and false alarms are told by color and caption.

    Args:
        path: of the PNG file.
        segment: one image, uint8 [H, W, 3] -> detections; those of a score of at least 0.5 are
            drawn.
        dataset: without random transforms.
        indices: the positions in `dataset` to show, at least one.
    """
    recording = record(segment, dataset, indices, description="drawing")
    rows = []
    for index, outcome, (truth, _) in zip(
        indices, find_outcomes(recording, "segm"), recording.by_image(), strict=True
    ):
        left, right = draw_pair(dataset.image(index), truth, outcome)
        rows.append((_scaled(left), _scaled(right)))
    with replacing(path) as temporary:
        _stack(rows).save(temporary)


def _scaled(drawing: Image.Image) -> Image.Image:
    """`drawing` at the height of a row."""
    width = max(1, round(drawing.width * PANEL_HEIGHT / drawing.height))
    return drawing.resize((width, PANEL_HEIGHT), Image.Resampling.LANCZOS)


def _stack(rows: Sequence[tuple[Image.Image, Image.Image]]) -> Image.Image:
    """Rows under the two titles; every column as wide as its widest drawing."""
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
