"""Which window of a picture an augmentation shows, and how large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .chance import between, happens, integer
from .geometry import Geometry, Size, resized_size

if TYPE_CHECKING:
    from ...recipes import Recipe


def draw_geometry(
    recipe: Recipe, masks: torch.Tensor, boxes: torch.Tensor, min_size: int
) -> Geometry:
    """Draw flip, scale and window of one picture.

    A picture that scale jitter makes larger than torchvision's rule is cut down to the rule's size;
    one that it makes smaller stays small and costs less (the padding of a batch is the canvas of
    large-scale jitter). A crop takes a share of each side, without scaling.

    Args:
        recipe: the settings.
        masks: uint8 [N, H, W] of the picture's people.
        boxes: float32 [N, 4] of the same, in pixels.
        min_size: shorter side before jitter, in pixels.
    """
    source = (masks.shape[1], masks.shape[2])
    fitting = resized_size(source, min_size, recipe.max_size)
    flip = happens(recipe.flip)
    factor = between(recipe.scale_min, recipe.scale_max)
    scaled = tuple(max(1, round(side * factor)) for side in fitting)
    shares = [1.0, 1.0]
    if happens(recipe.crop):
        shares = [between(recipe.crop_min, 1.0) for _ in shares]
    size, window = [], []
    for side, full, most, share in zip(source, scaled, fitting, shares, strict=True):
        shown = max(1, round(min(full, most) * share))
        size.append(shown)
        window.append(min(side, max(1, round(side * shown / full))))
    top, left = _place(source, (window[0], window[1]), masks, boxes)
    return Geometry(top, left, (window[0], window[1]), (size[0], size[1]), flip)


def _place(source: Size, window: Size, masks: torch.Tensor, boxes: torch.Tensor) -> tuple[int, int]:
    """Top and left of a window that shows somebody, if there is anybody."""
    if window == source:
        return 0, 0
    if not len(boxes):
        return integer(0, source[0] - window[0]), integer(0, source[1] - window[1])
    person = integer(0, len(boxes) - 1)
    x1, y1, x2, y2 = (int(value) for value in boxes[person].tolist())
    top = _around(source[0], window[0], y1, y2)
    left = _around(source[1], window[1], x1, x2)
    if masks[person, top : top + window[0], left : left + window[1]].any():
        return top, left
    # A window within the box of a large person may show the gap between the legs only.
    row, column = masks[person].nonzero()[masks[person].count_nonzero() // 2].tolist()
    return _around(source[0], window[0], row, row), _around(source[1], window[1], column, column)


def _around(side: int, window: int, first: int, last: int) -> int:
    """Where a window begins that covers first..last, or lies within them if they are longer."""
    low, high = sorted((last + 1 - window, first))
    limit = side - window
    return integer(min(max(low, 0), limit), min(max(high, 0), limit))
