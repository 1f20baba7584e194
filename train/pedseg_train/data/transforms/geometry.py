"""Crop, mirror and scale in one go: image, masks and boxes by the same numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ..protocol import Target, tight_boxes

Size = tuple[int, int]


def resized_size(size: Size, min_size: int, max_size: int) -> Size:
    """Height and width to which torchvision's detectors resize an image, in float64."""
    scale = min(min_size / min(size), max_size / max(size))
    return max(1, math.floor(size[0] * scale)), max(1, math.floor(size[1] * scale))


@dataclass(frozen=True, slots=True)
class Geometry:
    """Crop a window of an image, flip it and scale it.

    Attributes:
        top, left: first pixel of the window in the source.
        window: its height and width in source pixels.
        size: height and width of the result.
        flip: whether to flip horizontally.
    """

    top: int
    left: int
    window: Size
    size: Size
    flip: bool = False

    def image(self, image: torch.Tensor) -> torch.Tensor:
        """Uint8 [C, H, W] -> float32 [C, *size] in 0..1, as torchvision's detectors scale."""
        scaled = self._crop(image).to(torch.float32).div_(255)
        if self.window == self.size:
            return scaled
        return F.interpolate(scaled[None], size=self.size, mode="bilinear", align_corners=False)[0]

    def masks(self, masks: torch.Tensor) -> torch.Tensor:
        """Uint8 [N, H, W] -> uint8 [N, *size], by the nearest pixel, as torchvision does."""
        cut = self._crop(masks)
        if self.window == self.size or not len(masks):
            return cut.new_empty((0, *self.size)) if not len(masks) else cut.contiguous()
        return F.interpolate(cut[None], size=self.size, mode="nearest")[0]

    def boxes(self, boxes: torch.Tensor) -> torch.Tensor:
        """Float32 [N, 4], x1 y1 x2 y2 -> the same in the result, clipped to it.

        By torchvision's rules: flipped at the width, scaled by the ratio of the sides.
        """
        moved = boxes - boxes.new_tensor([self.left, self.top, self.left, self.top])
        height, width = self.window
        limits = boxes.new_tensor([width, height, width, height])
        moved = torch.minimum(moved.clamp_min(0), limits)
        if self.flip:
            moved[:, [0, 2]] = width - moved[:, [2, 0]]
        return moved * boxes.new_tensor([self.size[1] / width, self.size[0] / height] * 2)

    def _crop(self, planes: torch.Tensor) -> torch.Tensor:
        height, width = self.window
        cut = planes[:, self.top : self.top + height, self.left : self.left + width]
        return cut.flip(-1) if self.flip else cut


_PER_INSTANCE = ("boxes", "labels", "masks", "iscrowd")


def training_target(target: Target) -> Target:
    """The entries needed in training, as plain tensors, without crowd regions."""
    singles = target["iscrowd"] == 0
    return {
        "image_id": target["image_id"],
        **{key: torch.as_tensor(target[key]).as_subclass(torch.Tensor)[singles]
           for key in _PER_INSTANCE},
    }  # fmt: skip


def select(target: Target, which: torch.Tensor) -> Target:
    """The instances of `target` that `which` selects, a bool mask [N] or positions."""
    return {**target, **{key: target[key][which] for key in _PER_INSTANCE}}


def concatenate(first: Target, second: Target) -> Target:
    """The instances of both, with masks of one size; other entries are those of `first`."""
    return {**first, **{key: torch.cat([first[key], second[key]]) for key in _PER_INSTANCE}}


def with_tight_boxes(target: Target, edge: int = 0) -> Target:
    """The target with boxes recomputed from the masks.

    Args:
        target: with masks.
        edge: pixels from a mask's last pixel to the box's right and bottom edge, see `Instances`.
    """
    boxes = torch.from_numpy(tight_boxes(target["masks"].numpy()))
    boxes[:, 2:] += edge
    return {**target, "boxes": boxes.to(torch.float32)}


def drop_invisible(target: Target) -> Target:
    """The target without instances of no pixel, or of a box without width or height."""
    boxes = target["boxes"]
    visible = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & target["masks"].flatten(1).any(
        dim=1
    ).bool()
    return target if bool(visible.all()) else select(target, visible)


def with_box_areas(target: Target) -> Target:
    """The target with the area of each box, the tutorial's measure of size."""
    boxes = target["boxes"]
    return {**target, "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])}
