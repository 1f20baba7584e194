"""A recipe's augmentation, drawn anew every time that an image is trained on.

A window of the image, mirroring, colours, and copy-paste of people from another image (Ghiasi et
al. 2021, "Simple Copy-Paste").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torchvision.transforms import v2

from ..protocol import Target
from .geometry import (
    Geometry,
    Size,
    concatenate,
    drop_invisible,
    resized_size,
    select,
    training_target,
    with_box_areas,
    with_tight_boxes,
)
from .randomness import bernoulli, randint, uniform

if TYPE_CHECKING:
    from ...recipes import Recipe


def paste_people(
    image: torch.Tensor,
    target: Target,
    other: torch.Tensor,
    other_target: Target,
    *,
    box_edge: int = 0,
) -> tuple[torch.Tensor, Target]:
    """Paste some people of `other` into `image`, in front of its own.

    Each person is taken with probability 0.5, at least one, and all keep their relative positions.
    A smaller `other` is placed at random within `image`, a larger one is cropped at random.

    Args:
        image: float32 [3, H, W].
        target: of `image`, with masks uint8 [N, H, W].
        other: float32 [3, H', W'].
        other_target: of `other`, with masks uint8 [M, H', W'].
        box_edge: see `LabelledImages`.

    Returns:
        A new image and a target with tight boxes, without invisible people.
    """
    count = len(other_target["labels"])
    if not count:
        return image, target
    chosen = torch.tensor([bernoulli(0.5) for _ in range(count)])
    chosen[randint(0, count - 1)] = True
    other_target = select(other_target, chosen)

    here, there = zip(
        *(
            _overlap(own, foreign)
            for own, foreign in zip(image.shape[1:], other.shape[1:], strict=True)
        ),
        strict=True,
    )
    pasted = other_target["masks"].new_zeros((len(other_target["labels"]), *image.shape[1:]))
    pasted[:, here[0], here[1]] = other_target["masks"][:, there[0], there[1]]
    covered = pasted[:, here[0], here[1]].amax(0) != 0

    image, masks = image.clone(), target["masks"].clone()
    view = image[:, here[0], here[1]]
    view.copy_(torch.where(covered, other[:, there[0], there[1]], view))
    masks[:, here[0], here[1]] *= ~covered
    both = concatenate({**target, "masks": masks}, {**other_target, "masks": pasted})
    return image, drop_invisible(with_tight_boxes(both, box_edge))


def _overlap(own: int, foreign: int) -> tuple[slice, slice]:
    """Along one axis, random slices of `own` and `foreign` pixels that coincide."""
    common = min(own, foreign)
    begin, skip = randint(0, own - common), randint(0, foreign - common)
    return slice(begin, begin + common), slice(skip, skip + common)


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
        boxes: float32 [N, 4] of the same, first and last pixel.
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


Sample = tuple[torch.Tensor, Target]


class Augmentation:
    """Augments a sample and brings it to the size at which the network is trained.

    Boxes are transformed by torchvision's rules, so that the tutorial's recipe equals the tutorial.
    Where crops, enlargement or pasting may cut off or cover people, boxes are recomputed from the
    resulting masks, by the dataset's rule. Invisible people are dropped. All random numbers come
    from torch's global CPU generator.

    Args:
        recipe: the settings.
        box_edge: of the dataset, see `LabelledImages`.
    """

    def __init__(self, recipe: Recipe, *, box_edge: int = 0) -> None:
        self._recipe = recipe
        self._box_edge = box_edge
        self._recompute_boxes = bool(recipe.crop or recipe.copy_paste or recipe.scale_max > 1)
        self._colour_transforms = _colour_jitter(recipe)

    def __call__(
        self, sample: Sample, *, min_size: int, sample_other: Callable[[], Sample]
    ) -> Sample:
        """Augment one sample.

        Args:
            sample: image uint8 [3, H, W] and target as in the datasets.
            min_size: the shorter side before jitter, in pixels.
            sample_other: returns a random second sample, for pasting.

        Returns:
            Image float32 [3, h, w] in 0..1; target with boxes float32 [N, 4], labels int64 [N],
            masks uint8 [N, h, w], area float32 [N], iscrowd int64 [N] and image_id.
        """
        image, target = self._transform(sample, min_size)
        if bernoulli(self._recipe.copy_paste):
            other = self._transform(sample_other(), min_size)
            image, target = paste_people(image, target, *other, box_edge=self._box_edge)
        for change in self._colour_transforms:
            image = change(image)
        return image, with_box_areas(target)

    def _transform(self, sample: Sample, min_size: int) -> Sample:
        image, target = (
            torch.as_tensor(sample[0]).as_subclass(torch.Tensor),
            training_target(sample[1]),
        )
        pixels = target["boxes"] - target["boxes"].new_tensor([0, 0, *[self._box_edge] * 2])
        geometry = draw_geometry(self._recipe, target["masks"], pixels, min_size)
        boxes = geometry.boxes(target["boxes"])
        # People outside the window need no mask at the new size.
        inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        target = select({**target, "boxes": boxes}, inside)
        target["masks"] = geometry.masks(target["masks"])
        if self._recompute_boxes:
            target = with_tight_boxes(target, self._box_edge)
        return geometry.image(image), drop_invisible(target)


def _colour_jitter(recipe: Recipe) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    steps: list[Callable[[torch.Tensor], torch.Tensor]] = []
    if recipe.brightness or recipe.contrast or recipe.saturation or recipe.hue:
        steps.append(
            v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
        )
    if recipe.grey:
        steps.append(v2.RandomGrayscale(recipe.grey))
    return steps
