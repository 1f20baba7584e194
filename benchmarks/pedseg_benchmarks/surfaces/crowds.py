"""Streets with as many people as one likes: figures cut out of generated scenes, side by side."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from pedseg_export.verification import generated_street
from pedseg_train.synthetic.street import draw_street

from ..contenders import Image

DIFFERENT = 20  # figures; more people are these again
CELL = 2.5  # height over width of the room that a figure gets
FILLED = 0.85  # of that room
TALLEST = 0.6  # of the picture
GREY = 128
SMALLEST_FIGURE = 40  # pixels, cut out; smaller ones would be blurred when enlarged


def crowd(count: int, height: int, width: int, *, plain: bool = False, seed: int = 0) -> Image:
    """An empty street with `count` people, each whole and by itself, uint8 [height, width, 3].

    How many of them a network finds is its own affair: count its detections.

    Args:
        count: people.
        height: in pixels.
        width: in pixels.
        plain: a grey wall instead of the street, where hardly a network sees what is not there.
        seed: of the street and the people.
    """
    wall = np.full((height, width, 3), GREY, np.uint8)
    street = wall if plain else _empty_street(seed, height, width).copy()
    if count == 0:
        return street
    rows = max(1, math.ceil(math.sqrt(count * height / (CELL * width))))
    columns = math.ceil(count / rows)
    cell_height, cell_width = height // rows, width // columns
    figures = _some_figures(seed)
    for number in range(count):
        picture, mask = figures[number % len(figures)]
        room = min(FILLED * cell_height, TALLEST * height), FILLED * cell_width
        scale = min(room[0] / mask.shape[0], room[1] / mask.shape[1])
        size = max(2, int(mask.shape[1] * scale)), max(2, int(mask.shape[0] * scale))
        row, column = divmod(number, columns)
        top = row * cell_height + (cell_height - size[1]) // 2
        left = column * cell_width + (cell_width - size[0]) // 2
        part = street[top : top + size[1], left : left + size[0]]
        figure = np.asarray(PIL.Image.fromarray(picture).resize(size))
        inside = np.asarray(PIL.Image.fromarray(mask).resize(size))
        part[inside] = figure[inside]
    return street


@functools.lru_cache(maxsize=8)
def _empty_street(seed: int, height: int, width: int) -> Image:
    return generated_street(seed, height, width, people=False)


@functools.cache
def _some_figures(seed: int) -> list[tuple[Image, NDArray[np.bool_]]]:
    return list(itertools.islice(_figures(seed), DIFFERENT))


def _figures(seed: int) -> Iterator[tuple[Image, NDArray[np.bool_]]]:
    """People of generated scenes with the pixels that are theirs."""
    for index in itertools.count():
        picture, ids = draw_street(np.random.default_rng([seed, index]), width=420, height=360)
        for person in range(1, int(ids.max()) + 1):
            mask = ids == person
            rows, columns = np.nonzero(mask)
            if not len(rows) or np.ptp(rows) < SMALLEST_FIGURE or np.ptp(rows) < np.ptp(columns):
                continue  # hidden, or only a part
            box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
            yield picture[box], mask[box]
