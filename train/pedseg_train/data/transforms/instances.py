"""The people of a sample: dropped and joined with everything that belongs to them."""

from __future__ import annotations

import torch

from ..protocol import Target, tight_boxes

_PER_INSTANCE = ("boxes", "labels", "masks", "iscrowd")


def plain_target(target: Target) -> Target:
    """The entries that training needs, as plain tensors; crowds are no instances to learn from."""
    singles = target["iscrowd"] == 0
    return {
        "image_id": target["image_id"],
        **{key: torch.as_tensor(target[key]).as_subclass(torch.Tensor)[singles]
           for key in _PER_INSTANCE},
    }  # fmt: skip


def kept(target: Target, which: torch.Tensor) -> Target:
    """The target with some of its instances: bool [N] or positions."""
    return {**target, **{key: target[key][which] for key in _PER_INSTANCE}}


def joined(first: Target, second: Target) -> Target:
    """The instances of both; masks must be of one size. Everything else is the first's."""
    return {**first, **{key: torch.cat([first[key], second[key]]) for key in _PER_INSTANCE}}


def retightened(target: Target) -> Target:
    """With boxes anew from the masks, as in the tutorial."""
    boxes = torch.from_numpy(tight_boxes(target["masks"].numpy()))
    return {**target, "boxes": boxes.to(torch.float32)}


def without_vanished(target: Target) -> Target:
    """Without instances that have no pixel left, or whose box has no width or height."""
    boxes = target["boxes"]
    there = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & target["masks"].flatten(1).any(dim=1).bool()
    return target if bool(there.all()) else kept(target, there)


def with_area(target: Target) -> Target:
    """With the area of each box, the tutorial's measure of size."""
    boxes = target["boxes"]
    return {**target, "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])}
