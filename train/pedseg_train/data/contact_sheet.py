"""A sheet to look at: pictures beside their masks, and both together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pedseg_runtime.draw import draw_instances, instance_color
from pedseg_runtime.errors import InputError

from .opening import open_pictures
from .pennfudan import PERSON
from .protocol import Instances, LabelledPictures

_PANEL = 260  # pixels that a picture's longer side gets
_GAP, _CAPTION, _MARGIN = 6, 26, 18
_PAPER, _CARD, _INK, _FAINT = (250, 250, 248), (32, 34, 38), (40, 42, 46), (130, 132, 138)


def draw_contact_sheet(
    root: str | Path,
    *,
    count: int = 8,
    columns: int = 2,
    categories: Sequence[str] | None = None,
    images: str | Path | None = None,
) -> Image.Image:
    """Pictures of a dataset, spread evenly over it, each as picture, masks, and both with boxes.

    Where there is more than people, every instance bears the name of its class.

    Args:
        root: the dataset, of any layout; see `open_dataset`.
        count: how many pictures; fewer if there are fewer.
        columns: how many pictures stand in a row.
        categories: the categories to show; all by default.
        images: the folder of a COCO file's pictures.

    Raises:
        DatasetError: no dataset, or a damaged file.
        InputError: `count` or `columns` below 1.
    """
    if count < 1 or columns < 1:
        raise InputError(f"count and columns: expected at least 1, found {count} and {columns}")
    pictures = open_pictures(root, categories=categories, images=images)
    chosen = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
    strips = [_strip(pictures, int(index)) for index in chosen]
    columns = min(columns, len(strips))
    rows = -(-len(strips) // columns)
    wide, high = strips[0].size
    sheet = Image.new(
        "RGB",
        (columns * (wide + _MARGIN) + _MARGIN, rows * (high + _MARGIN) + _MARGIN),
        _PAPER,
    )
    for place, strip in enumerate(strips):
        row, column = divmod(place, columns)
        corner = (_MARGIN + column * (wide + _MARGIN), _MARGIN + row * (high + _MARGIN))
        sheet.paste(strip, corner)
    return sheet


def _strip(pictures: LabelledPictures, index: int) -> Image.Image:
    """Three panels of one picture above its caption."""
    picture, instances = pictures.sample(index)
    boxes = instances.boxes.astype(np.float32) + np.array([0, 0, 1, 1], np.float32)
    together = draw_instances(
        picture, instances.masks, boxes, _captions(instances, pictures.class_names)
    )
    colored = _colored(instances.masks, picture.shape[:2])
    panels = (Image.fromarray(picture), colored, together)
    strip = Image.new("RGB", (3 * _PANEL + 2 * _GAP, _PANEL + _CAPTION), _PAPER)
    for place, panel in enumerate(panels):
        # Masks keep their hard edges, pictures do not.
        method = Image.Resampling.NEAREST if place == 1 else Image.Resampling.LANCZOS
        strip.paste(_fitted(panel, method), (place * (_PANEL + _GAP), 0))
    pen = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=14)
    pen.text((2, _PANEL + 5), pictures.names[index], fill=_INK, font=font)
    number = _number(len(instances), only_people=pictures.class_names[1:] == (PERSON,))
    facts = f"{number}, {picture.shape[1]} x {picture.shape[0]}"
    pen.text((strip.width - 2, _PANEL + 5), facts, fill=_FAINT, font=font, anchor="ra")
    return strip


def _captions(instances: Instances, class_names: Sequence[str]) -> list[str] | None:
    """The class of every instance; none if all are people and nobody is in a crowd."""
    if len(class_names) == 2 and class_names[1] == PERSON and not instances.crowd.any():
        return None
    return [
        f"{class_names[label]}, crowd" if crowd else class_names[label]
        for label, crowd in zip(instances.labels, instances.crowd, strict=True)
    ]


def _number(count: int, *, only_people: bool) -> str:
    if only_people:
        return {0: "empty street", 1: "1 person"}.get(count, f"{count} people")
    return {0: "no instances", 1: "1 instance"}.get(count, f"{count} instances")


def _colored(masks: NDArray[np.bool_], size: tuple[int, ...]) -> Image.Image:
    """Every instance in its colour on a dark ground."""
    colors = np.empty((*size[:2], 3), np.uint8)
    colors[:] = _CARD
    for index, mask in enumerate(masks):
        colors[mask] = instance_color(index)
    return Image.fromarray(colors)


def _fitted(picture: Image.Image, method: Image.Resampling) -> Image.Image:
    """The picture as large as fits into a square card."""
    scale = _PANEL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    card = Image.new("RGB", (_PANEL, _PANEL), _CARD)
    corner = ((_PANEL - size[0]) // 2, (_PANEL - size[1]) // 2)
    card.paste(picture.resize(size, method), corner)
    return card
