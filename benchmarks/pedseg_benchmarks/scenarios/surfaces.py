"""Latency over number of detections and image size, and the plane through it.

The images are generated streets with a chosen number of people.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from pedseg_export.graph.sizes import network_size
from pedseg_export.verification import generated_street
from pedseg_runtime.console import progress_bar
from pedseg_train.synthetic.street import draw_street

from ..contenders import Image
from ..harness import LoadedContender, infer, timed_call
from ..scenario_results import CostModel, SurfacePoint

COUNTS = (0, 1, 5, 20, 100)
BASE = (480, 640)
# The network scales the shorter side to a fixed length, so that only the shape of a image
# decides how many pixels it computes: square to eight times as wide as high.
SIZES = ((480, 480), (480, 640), (480, 800), (240, 960), (160, 1280))
BLOCK = 32  # the network's padded sides are multiples of it
DIFFERENT = 20  # figures; more people are these again
CELL = 2.5  # height over width of the room that a figure gets
FILLED = 0.85  # of that room
TALLEST = 0.6  # of the image
GREY = 128
SMALLEST_FIGURE = 40  # pixels, cut out; smaller ones would be blurred when enlarged


@dataclass(frozen=True, slots=True)
class Resize:
    """torchvision's resize rule: the shorter side's target, the longer side's limit, in pixels."""

    min_size: int
    max_size: int

    def megapixels(self, height: int, width: int) -> float:
        """10^6 pixels that the network computes for an image, padding included."""
        padded = network_size(height, width, self.min_size, self.max_size, BLOCK)[1]
        return padded[0] * padded[1] / 1e6


def surface(
    contenders: Sequence[LoadedContender],
    images: Sequence[Image],
    *,
    counts: Sequence[int] = COUNTS,
    sizes: Sequence[tuple[int, int]] = SIZES,
    base: tuple[int, int] = BASE,
    calls: int,
) -> list[SurfacePoint]:
    """Time all contenders in turn on images chosen by their number of detections, and by size.

    The number of detections depends on the network. Of different crowds in a street and before a
    grey wall, and of the benchmark's own images, those are taken on which the first contender has
    most nearly the wanted number; a point gives the actual number, for its own contender.

    Args:
        contenders: that passed the correctness check.
        images: of the benchmark.
        counts: wanted numbers of detections.
        sizes: (height, width) of empty streets.
        base: (height, width) of the streets with crowds.
        calls: timed calls per contender and image, after one that is not timed.
    """
    crowds = [crowd(count, *base, plain=plain) for plain in (False, True) for count in counts]
    chosen = _nearest(contenders[0], [*crowds, *images], counts)
    chosen += [crowd(0, *size) for size in sizes if size != base]
    points = []
    with progress_bar() as bar:
        for image in bar.track(chosen, description="surface"):
            found = [len(contender.worker.run(infer, [image])[0]) for contender in contenders]
            samples: list[list[float]] = [[] for _ in contenders]
            for call in range(calls):
                for offset in range(len(contenders)):
                    index = (call + offset) % len(contenders)
                    timing = contenders[index].worker.run(timed_call, [image])
                    samples[index].append(1e3 * timing.seconds)
            height, width = image.shape[:2]
            points += [
                SurfacePoint(contender.name, height, width, count, own)
                for contender, count, own in zip(contenders, found, samples, strict=True)
            ]
    return points


def fit(points: Sequence[SurfacePoint], resize: Resize) -> list[CostModel]:
    """The plane through each contender's medians by least squares.

    A contender whose points do not span a plane (always the same number of detections, or one
    shape of images) gets none.
    """
    models = []
    for name in dict.fromkeys(point.contender for point in points):
        own = [point for point in points if point.contender == name]
        design = np.array(
            [[1.0, point.detections, resize.megapixels(point.height, point.width)] for point in own]
        )
        times = np.array([float(np.median(point.samples_ms)) for point in own])
        if len(own) < 4 or np.linalg.matrix_rank(design) < 3:
            continue
        coefficients = np.linalg.lstsq(design, times, rcond=None)[0]
        rest = float(((times - design @ coefficients) ** 2).sum())
        spread = float(((times - times.mean()) ** 2).sum())
        base, per_detection, per_megapixel = (float(value) for value in coefficients)
        models.append(
            CostModel(
                contender=name,
                base_ms=base,
                per_detection_ms=per_detection,
                per_megapixel_ms=per_megapixel,
                r_squared=1 - rest / spread if spread > 0 else 1.0,
            )
        )
    return models


def _nearest(
    contender: LoadedContender, images: Sequence[Image], counts: Sequence[int]
) -> list[Image]:
    """For each count the image on which `contender` finds most nearly so many, each once."""
    found = [len(contender.worker.run(infer, [image])[0]) for image in images]
    left = list(range(len(images)))
    chosen = []
    for count in counts:
        best = min(left, key=lambda index: abs(found[index] - count))
        left.remove(best)
        chosen.append(images[best])
    return chosen


def crowd(count: int, height: int, width: int, *, plain: bool = False, seed: int = 0) -> Image:
    """A street with `count` people, each whole and apart from the others, uint8 [height, width, 3].

    How many of them a network detects depends on the network: count its detections.

    Args:
        count: people.
        height: in pixels.
        width: in pixels.
        plain: a grey wall instead of the street, on which networks have few false detections.
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
        image, mask = figures[number % len(figures)]
        room = min(FILLED * cell_height, TALLEST * height), FILLED * cell_width
        scale = min(room[0] / mask.shape[0], room[1] / mask.shape[1])
        size = max(2, int(mask.shape[1] * scale)), max(2, int(mask.shape[0] * scale))
        row, column = divmod(number, columns)
        top = row * cell_height + (cell_height - size[1]) // 2
        left = column * cell_width + (cell_width - size[0]) // 2
        part = street[top : top + size[1], left : left + size[0]]
        figure = np.asarray(PIL.Image.fromarray(image).resize(size))
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
        image, ids = draw_street(np.random.default_rng([seed, index]), width=420, height=360)
        for person in range(1, int(ids.max()) + 1):
            mask = ids == person
            rows, columns = np.nonzero(mask)
            if not len(rows) or np.ptp(rows) < SMALLEST_FIGURE or np.ptp(rows) < np.ptp(columns):
                continue  # hidden, or only a part
            box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
            yield image[box], mask[box]
