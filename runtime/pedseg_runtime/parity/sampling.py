"""Where RoIAlign jumps: the soft mask of a sliver along the far edge of the picture.

torchvision's RoIAlign widens a box to one cell of the feature map at least, so a narrower box at
the right or lower edge is sampled beyond the map, where features count as zero. Everywhere else the
pooled features follow the box smoothly; where a sampling point lies on that edge, boxes that differ
by rounding alone pool different features, and the whole soft mask is another one.
"""

from __future__ import annotations

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
        than the difference of the boxes where they start and the rounding of float32; None if no
        point is so close, or the sizes are not known.
    """
    if settings.min_size is None or settings.max_size is None:
        return None
    a, b = first.astype(np.float64), second.astype(np.float64)
    scale = min(settings.min_size / min(image_size), settings.max_size / max(image_size))
    margins = []
    for axis, size in ((0, image_size[1]), (1, image_size[0])):
        noise = abs(a[axis] - b[axis]) + ROUNDING * max(abs(a[axis]), abs(b[axis]))
        nearest = min(_edge_margin(box[axis::2], size, scale) for box in (a, b))
        if nearest <= noise:
            margins.append(nearest)
    return min(margins, default=None)


def _edge_margin(side: NDArray[np.float64], size: int, scale: float) -> float:
    """Distance of the nearest sampling point from the far edge; infinite if nothing is widened.

    Args:
        side: [2], where a box starts and ends along an axis, in pixels of the original image.
        size: of the original image along that axis.
        scale: by which the image is resized, before its sides are cut to whole pixels.
    """
    resized = int(size * scale)
    cells_per_pixel = resized / size / CELL
    start, stop = side * cells_per_pixel
    if stop - start >= 1:
        return float("inf")
    edge = -(-resized // MULTIPLE) * MULTIPLE / CELL
    points = start + (np.arange(POINTS) + 0.5) / POINTS
    return float(np.abs(points - edge).min() / cells_per_pixel)
