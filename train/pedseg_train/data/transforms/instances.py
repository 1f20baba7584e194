"""Operations on the target of a sample: select, concatenate and update its instances."""

from __future__ import annotations

import torch

from ..protocol import Target, tight_boxes

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


def with_tight_boxes(target: Target) -> Target:
    """The target with boxes recomputed from the masks, as in the tutorial."""
    boxes = torch.from_numpy(tight_boxes(target["masks"].numpy()))
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
