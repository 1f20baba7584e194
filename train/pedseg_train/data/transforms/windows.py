"""Random crop windows and scales of an augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .chance import bernoulli, randint, uniform
from .geometry import Geometry, Size, resized_size

if TYPE_CHECKING:
    from ...recipes import Recipe


def draw_geometry(
    recipe: Recipe, masks: torch.Tensor, boxes: torch.Tensor, min_size: int
) -> Geometry:
    """Draw flip, scale and window of one image.

    An image that scale jitter makes larger than torchvision's rule is cropped to the rule's size; a
    smaller one stays small and costs less (the padding of a batch is the canvas of large-scale
    jitter). A crop takes a fraction of each side, without scaling.

    Args:
        recipe: the settings.
        masks: uint8 [N, H, W] of the image's people.
        boxes: float32 [N, 4] of the same, in pixels.
        min_size: shorter side before jitter, in pixels.
    """
    source = (masks.shape[1], masks.shape[2])
    fitting = resized_size(source, min_size, recipe.max_size)
    flip = bernoulli(recipe.flip)
    factor = uniform(recipe.scale_min, recipe.scale_max)
    scaled = tuple(max(1, round(side * factor)) for side in fitting)
    shares = [1.0, 1.0]
    if bernoulli(recipe.crop):
        shares = [uniform(recipe.crop_min, 1.0) for _ in shares]
    size, window = [], []
    for side, full, most, share in zip(source, scaled, fitting, shares, strict=True):
        shown = max(1, round(min(full, most) * share))
        size.append(shown)
        window.append(min(side, max(1, round(side * shown / full))))
    top, left = _draw_corner(source, (window[0], window[1]), masks, boxes)
    return Geometry(top, left, (window[0], window[1]), (size[0], size[1]), flip)


def _draw_corner(
    source: Size, window: Size, masks: torch.Tensor, boxes: torch.Tensor
) -> tuple[int, int]:
    """Top and left of a random window that shows a person, if the image has any."""
    if window == source:
        return 0, 0
    if not len(boxes):
        return randint(0, source[0] - window[0]), randint(0, source[1] - window[1])
    person = randint(0, len(boxes) - 1)
    x1, y1, x2, y2 = (int(value) for value in boxes[person].tolist())
    top = _draw_offset(source[0], window[0], y1, y2)
    left = _draw_offset(source[1], window[1], x1, x2)
    if masks[person, top : top + window[0], left : left + window[1]].any():
        return top, left
    # A window within the box of a large person may fall between the legs.
    row, column = masks[person].nonzero()[masks[person].count_nonzero() // 2].tolist()
    return _draw_offset(source[0], window[0], row, row), _draw_offset(
        source[1], window[1], column, column
    )


def _draw_offset(side: int, window: int, first: int, last: int) -> int:
    """The start of a random window that covers first..last, or lies within if they are longer."""
    low, high = sorted((last + 1 - window, first))
    limit = side - window
    return randint(min(max(low, 0), limit), min(max(high, 0), limit))
