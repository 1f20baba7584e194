"""A recipe's augmentation: what is drawn anew every time that a picture is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torchvision.transforms import v2

from ..protocol import Target
from .chance import happens
from .instances import (
    kept,
    plain_target,
    retightened,
    with_area,
    without_vanished,
)
from .pasting import paste_people
from .windows import draw_geometry

if TYPE_CHECKING:
    from ...recipes import Recipe

Sample = tuple[torch.Tensor, Target]


class Augmentation:
    """Turns a sample of the dataset into one that the network is trained on, at its final size.

    Boxes: as long as nobody can be cut off or covered, they are carried along by torchvision's
    rules, so that the tutorial's recipe is the tutorial's. Where crops, enlargement or pasting are
    on, they are made anew from the masks of the result, by the tutorial's rule. People who have
    vanished are dropped. All draws come from torch's global CPU generator.

    Args:
        recipe: the settings.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._tight = bool(recipe.crop or recipe.copy_paste or recipe.scale_max > 1)
        self._colours = _colour_steps(recipe)

    def __call__(self, sample: Sample, *, min_size: int, another: Callable[[], Sample]) -> Sample:
        """Augment one sample.

        Args:
            sample: image uint8 [3, H, W] and target as the datasets give it.
            min_size: the shorter side before jitter, in pixels.
            another: draws a second sample, for pasting.

        Returns:
            Image float32 [3, h, w] in 0..1; target with boxes float32 [N, 4], labels int64 [N],
            masks uint8 [N, h, w], area float32 [N], iscrowd int64 [N] and image_id.
        """
        image, target = self._shown(sample, min_size)
        if happens(self._recipe.copy_paste):
            image, target = paste_people(image, target, *self._shown(another(), min_size))
        for change in self._colours:
            image = change(image)
        return image, with_area(target)

    def _shown(self, sample: Sample, min_size: int) -> Sample:
        image, target = (
            torch.as_tensor(sample[0]).as_subclass(torch.Tensor),
            plain_target(sample[1]),
        )
        geometry = draw_geometry(self._recipe, target["masks"], target["boxes"], min_size)
        boxes = geometry.boxes(target["boxes"])
        # Whoever is outside the window needs no mask at the new size.
        inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        target = kept({**target, "boxes": boxes}, inside)
        target["masks"] = geometry.masks(target["masks"])
        if self._tight:
            target = retightened(target)
        return geometry.image(image), without_vanished(target)


def _colour_steps(recipe: Recipe) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    steps: list[Callable[[torch.Tensor], torch.Tensor]] = []
    if recipe.brightness or recipe.contrast or recipe.saturation or recipe.hue:
        steps.append(
            v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
        )
    if recipe.grey:
        steps.append(v2.RandomGrayscale(recipe.grey))
    return steps
