"""Where RoIAlign jumps: the soft mask of a sliver along the far edge of the picture.

torchvision's RoIAlign widens a box to one cell of the feature map at least, so a narrower box at
the right or lower edge is sampled beyond the map, where features count as zero. Everywhere else the
pooled features follow the box smoothly; where a sampling point lies on that edge, boxes that differ
by rounding alone pool different features, and the whole soft mask is another one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .report import Settings

CELL = 4  # resized pixels: the finest level's, which pools every box that is narrower than that
POINTS = 28  # sampling points along a side: 14 bins of 2
MULTIPLE = 32  # resized pictures are padded to a multiple of this
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of a coordinate, relative


def explain_masks(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    image_size: tuple[int, int],
    settings: Settings,
) -> float | None:
    """Why two boxes that agree have different soft masks: the margin, if RoIAlign jumps there.

    Args:
        first: [4], x1 y1 x2 y2 in pixels of the original image.
        second: the other side's, likewise.
        image_size: (H, W) of the original image.
        settings: with the sizes that both sides resized to.

    Returns:
        Distance in pixels of a sampling point from the edge of the feature map, if it is no larger
        than the difference of the boxes and the rounding of float32; None if none is so close, or
        the sizes are not known.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    noise = float(np.abs(a - b).max() + ROUNDING * np.abs(a).max())
    margins = [margin for box in (a, b) for margin in _edge_margins(box, image_size, settings)]
    nearest = min(margins, default=np.inf)
    return nearest if nearest <= noise else None


def _edge_margins(
    box: NDArray[np.float64], image_size: tuple[int, int], settings: Settings
) -> Iterator[float]:
    """Distance of the nearest sampling point from the far edge, for every widened side."""
    if settings.min_size is None or settings.max_size is None:
        return
    scale = min(settings.min_size / min(image_size), settings.max_size / max(image_size))
    for axis, size in ((0, image_size[1]), (1, image_size[0])):
        resized = int(size * scale)
        cells_per_pixel = resized / size / CELL
        edge = -(-resized // MULTIPLE) * MULTIPLE / CELL
        start, stop = box[axis] * cells_per_pixel, box[axis + 2] * cells_per_pixel
        points = start + (np.arange(POINTS) + 0.5) / POINTS
        if stop - start < 1:
            yield float(np.abs(points - edge).min()) / cells_per_pixel
