"""Random augmentation of training samples, by the settings of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torchvision.transforms import v2

from ..protocol import Target
from .chance import bernoulli
from .instances import (
    drop_invisible,
    select,
    training_target,
    with_box_areas,
    with_tight_boxes,
)
from .pasting import paste_people
from .windows import draw_geometry

if TYPE_CHECKING:
    from ...recipes import Recipe

Sample = tuple[torch.Tensor, Target]


class Augmentation:
    """Augments a sample and brings it to the size at which the network is trained.

    Boxes are transformed by torchvision's rules, so that the tutorial's recipe equals the tutorial.
    Where crops, enlargement or pasting may cut off or cover people, boxes are recomputed from the
    resulting masks, by the tutorial's rule. Invisible people are dropped. All random numbers come
    from torch's global CPU generator.

    Args:
        recipe: the settings.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
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
            image, target = paste_people(image, target, *self._transform(sample_other(), min_size))
        for change in self._colour_transforms:
            image = change(image)
        return image, with_box_areas(target)

    def _transform(self, sample: Sample, min_size: int) -> Sample:
        image, target = (
            torch.as_tensor(sample[0]).as_subclass(torch.Tensor),
            training_target(sample[1]),
        )
        geometry = draw_geometry(self._recipe, target["masks"], target["boxes"], min_size)
        boxes = geometry.boxes(target["boxes"])
        # People outside the window need no mask at the new size.
        inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        target = select({**target, "boxes": boxes}, inside)
        target["masks"] = geometry.masks(target["masks"])
        if self._recompute_boxes:
            target = with_tight_boxes(target)
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
