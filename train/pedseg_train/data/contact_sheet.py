"""Contact sheet of a dataset: images, masks, and both together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pedseg_runtime.draw import draw_instances, instance_color
from pedseg_runtime.errors import InputError

from .loading import open_images
from .pennfudan import PERSON
from .protocol import Instances, LabelledImages

_PANEL = 260  # pixels of an image's longer side
_GAP, _CAPTION, _MARGIN = 6, 26, 18
_PAPER, _CARD, _INK, _FAINT = (250, 250, 248), (32, 34, 38), (40, 42, 46), (130, 132, 138)


def draw_contact_sheet(
    root: str | Path,
    *,
    count: int = 8,
    columns: int = 2,
    categories: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    images: str | Path | None = None,
) -> Image.Image:
    """Draw images spread evenly over a dataset, each as image, masks, and both with boxes.

    In datasets of more than people, instances are labelled with their class.

    Args:
        root: the dataset, of any layout; see `open_dataset`.
        count: number of images; fewer if there are fewer.
        columns: images per row.
        categories: the categories to show; all by default.
        class_map: other names for categories; see `open_dataset`.
        images: the folder of a COCO file's images.

    Raises:
        DatasetError: no dataset, or a damaged file.
        InputError: `count` or `columns` below 1.
    """
    if count < 1 or columns < 1:
        raise InputError(f"count and columns: expected at least 1, found {count} and {columns}")
    dataset = open_images(root, categories=categories, class_map=class_map, images=images)
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    strips = [_draw_strip(dataset, int(index)) for index in chosen]
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


def _draw_strip(dataset: LabelledImages, index: int) -> Image.Image:
    """Three panels of one image above its caption."""
    image, instances = dataset.sample(index)
    boxes = instances.boxes.astype(np.float32) + np.array([0, 0, 1, 1], np.float32)
    together = draw_instances(
        image, instances.masks, boxes, _captions(instances, dataset.class_names)
    )
    masks = _draw_masks(instances.masks, image.shape[:2])
    panels = (Image.fromarray(image), masks, together)
    strip = Image.new("RGB", (3 * _PANEL + 2 * _GAP, _PANEL + _CAPTION), _PAPER)
    for place, panel in enumerate(panels):
        # Masks keep their hard edges, images do not.
        method = Image.Resampling.NEAREST if place == 1 else Image.Resampling.LANCZOS
        strip.paste(_fit(panel, method), (place * (_PANEL + _GAP), 0))
    pen = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=14)
    pen.text((2, _PANEL + 5), dataset.names[index], fill=_INK, font=font)
    count = _count_text(len(instances), only_people=dataset.class_names[1:] == (PERSON,))
    facts = f"{count}, {image.shape[1]} x {image.shape[0]}"
    pen.text((strip.width - 2, _PANEL + 5), facts, fill=_FAINT, font=font, anchor="ra")
    return strip


def _captions(instances: Instances, class_names: Sequence[str]) -> list[str] | None:
    """The class of every instance; None for people without crowd regions."""
    if len(class_names) == 2 and class_names[1] == PERSON and not instances.crowd.any():
        return None
    return [
        f"{class_names[label]}, crowd" if crowd else class_names[label]
        for label, crowd in zip(instances.labels, instances.crowd, strict=True)
    ]


def _count_text(count: int, *, only_people: bool) -> str:
    if only_people:
        return {0: "empty street", 1: "1 person"}.get(count, f"{count} people")
    return {0: "no instances", 1: "1 instance"}.get(count, f"{count} instances")


def _draw_masks(masks: NDArray[np.bool_], size: tuple[int, ...]) -> Image.Image:
    """Every instance in its colour on a dark background."""
    colors = np.empty((*size[:2], 3), np.uint8)
    colors[:] = _CARD
    for index, mask in enumerate(masks):
        colors[mask] = instance_color(index)
    return Image.fromarray(colors)


def _fit(image: Image.Image, method: Image.Resampling) -> Image.Image:
    """The image scaled to fit a square card."""
    scale = _PANEL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    card = Image.new("RGB", (_PANEL, _PANEL), _CARD)
    corner = ((_PANEL - size[0]) // 2, (_PANEL - size[1]) // 2)
    card.paste(image.resize(size, method), corner)
    return card
