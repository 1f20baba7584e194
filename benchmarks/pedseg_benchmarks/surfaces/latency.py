"""Latency over number of detections and image size, and the plane through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pedseg_export.graph.sizes import network_size
from pedseg_runtime.console import progress_bar

from ..contenders import Image
from ..harness import infer, timed_call
from ..measuring import Entrant
from ..sections import CostModel, SurfacePoint
from .crowds import crowd

COUNTS = (0, 1, 5, 20, 100)
BASE = (480, 640)
# The network scales the shorter side to a fixed length, so that only the shape of a picture
# decides how many pixels it computes: square to eight times as wide as high.
SIZES = ((480, 480), (480, 640), (480, 800), (240, 960), (160, 1280))
BLOCK = 32  # the network's padded sides are multiples of it


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
    entrants: Sequence[Entrant],
    images: Sequence[Image],
    *,
    counts: Sequence[int] = COUNTS,
    sizes: Sequence[tuple[int, int]] = SIZES,
    base: tuple[int, int] = BASE,
    calls: int,
) -> list[SurfacePoint]:
    """Time all contenders in turn on pictures chosen by what is found in them, and by size.

    The network decides what it finds. Of different crowds in a street and before a grey wall, and
    of the benchmark's own images, those are taken on which the first contender finds most nearly
    as many as asked for; a point says how many it really were, for its own contender.

    Args:
        entrants: whose answers are right.
        images: of the benchmark.
        counts: detections to look for.
        sizes: (height, width) of empty streets.
        base: (height, width) of the streets with crowds.
        calls: timed calls per contender and picture, after one that is not timed.
    """
    crowds = [crowd(count, *base, plain=plain) for plain in (False, True) for count in counts]
    pictures = _nearest(entrants[0], [*crowds, *images], counts)
    pictures += [crowd(0, *size) for size in sizes if size != base]
    points = []
    with progress_bar() as bar:
        for picture in bar.track(pictures, description="surface"):
            found = [len(entrant.seat.do(infer, [picture])[0]) for entrant in entrants]
            samples: list[list[float]] = [[] for _ in entrants]
            for call in range(calls):
                for place in range(len(entrants)):
                    index = (call + place) % len(entrants)
                    timing = entrants[index].seat.do(timed_call, [picture])
                    samples[index].append(1e3 * timing.seconds)
            height, width = picture.shape[:2]
            points += [
                SurfacePoint(entrant.name, height, width, count, own)
                for entrant, count, own in zip(entrants, found, samples, strict=True)
            ]
    return points


def fit(points: Sequence[SurfacePoint], resize: Resize) -> list[CostModel]:
    """The plane through each contender's medians by least squares.

    A contender whose points do not span a plane (always the same number of detections, or one
    shape of pictures) gets none.
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


def _nearest(entrant: Entrant, pictures: Sequence[Image], counts: Sequence[int]) -> list[Image]:
    """For each count the picture on which `entrant` finds most nearly so many, each once."""
    found = [len(entrant.seat.do(infer, [picture])[0]) for picture in pictures]
    left = list(range(len(pictures)))
    chosen = []
    for count in counts:
        best = min(left, key=lambda index: abs(found[index] - count))
        left.remove(best)
        chosen.append(pictures[best])
    return chosen
