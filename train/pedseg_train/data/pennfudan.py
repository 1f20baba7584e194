"""A dataset in the Penn-Fudan layout, with the targets of torchvision's fine-tuning tutorial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes

from pedseg_runtime.errors import DatasetError

from .layout import (
    check_root,
    image_names,
    image_path,
    instance_ids,
    mask_path,
    read_mask,
    read_pair,
    read_picture,
    split_instances,
    tight_boxes,
)

Target = dict[str, Any]
Transform = Callable[[torch.Tensor, Target], tuple[torch.Tensor, Target]]


class Dropped(NamedTuple):
    """An instance that is in the mask and not in the training target."""

    instance: int
    reason: str


class PennFudanDataset(Dataset[tuple[torch.Tensor, Target]]):
    """Pictures and instance masks in the Penn-Fudan layout (see `layout`), sorted by name.

    `dataset[i]` is `(image, target)`, both passed through `transform`. Before it, the image is a
    `tv_tensors.Image` uint8 [3, H, W] RGB and the target holds, for N people:

        boxes     `tv_tensors.BoundingBoxes` float32 [N, 4], x1 y1 x2 y2 in pixels; x2 and y2 are
                  the last pixel that belongs to the instance, as in the tutorial
        labels    int64 [N], all 1
        masks     `tv_tensors.Mask` uint8 [N, H, W], 0 or 1
        image_id  int, the position among all pictures of the folder, whatever `indices` says
        area      float32 [N], of the boxes, in square pixels
        iscrowd   int64 [N], all 0

    A picture without people is fine: N is 0. An instance whose box has no width or height cannot be
    trained on and is left out; `dropped(i)` tells which and why.

    Args:
        root: the folder that holds PNGImages and PedMasks.
        transform: takes and returns `(image, target)`; see `transforms`.
        indices: the positions to keep, in this order; all by default.

    Attributes:
        root: the folder.
        names: the name of every picture kept, without its suffix.

    Raises:
        DatasetError: no such folder, another layout, no picture, a picture without a mask, a bad
            index; on access, a damaged file or a mask of another size.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        transform: Transform | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        self.root = Path(root)
        self._transform = transform
        check_root(self.root)
        names = image_names(self.root)
        self._ids = _checked_indices(indices, len(names))
        self.names: tuple[str, ...] = tuple(names[i] for i in self._ids)
        self._check_files(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        picture, ids = read_pair(self.root, self.names[index])
        image = tv_tensors.Image(torch.from_numpy(picture.transpose(2, 0, 1).copy()))
        target = _target(torch.from_numpy(split_instances(ids)), self._ids[index])
        if self._transform is None:
            return image, target
        return self._transform(image, target)

    def path(self, index: int) -> Path:
        """The file of picture `index`."""
        return image_path(self.root, self.names[index])

    def image(self, index: int) -> NDArray[np.uint8]:
        """Picture `index` without transforms, uint8 [H, W, 3] RGB."""
        return read_picture(self.path(index))

    def masks(self, index: int) -> NDArray[np.bool_]:
        """Every instance of picture `index`, bool [N, H, W], in the order of their ids."""
        return split_instances(read_pair(self.root, self.names[index])[1])

    def dropped(self, index: int) -> tuple[Dropped, ...]:
        """The instances of picture `index` that its target leaves out, with their ids."""
        ids = read_mask(mask_path(self.root, self.names[index]))
        boxes = tight_boxes(split_instances(ids)).tolist()
        return tuple(
            Dropped(instance, f"its box is {x2 - x1} px wide and {y2 - y1} px high")
            for instance, (x1, y1, x2, y2) in zip(instance_ids(ids).tolist(), boxes, strict=True)
            if x2 == x1 or y2 == y1
        )

    def _check_files(self, names: list[str]) -> None:
        """Listing is cheap, so an unusable folder is refused before training starts."""
        if not names:
            raise DatasetError(
                f"{self.root}: expected PNG files in PNGImages, found none; pictures of other "
                "formats must be converted"
            )
        unmasked = [name for name in self.names if not mask_path(self.root, name).is_file()]
        if unmasked:
            more = f" (and {len(unmasked) - 1} more pictures)" if len(unmasked) > 1 else ""
            raise DatasetError(
                f"{image_path(self.root, unmasked[0])}: expected the mask "
                f"{mask_path(self.root, unmasked[0])}, found nothing{more}; `pedseg-data check "
                f"{self.root}` lists what is missing"
            )


def _checked_indices(indices: Sequence[int] | None, count: int) -> tuple[int, ...]:
    if indices is None:
        return tuple(range(count))
    outside = [index for index in indices if not 0 <= index < count]
    if outside:
        raise DatasetError(
            f"expected indices from 0 to {count - 1}, found {outside[0]}; was the split made for "
            "another dataset?"
        )
    return tuple(indices)


def _target(masks: torch.Tensor, image_id: int) -> Target:
    """The tutorial's target from masks bool [N, H, W]."""
    boxes = masks_to_boxes(masks)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    kept = (width > 0) & (height > 0)
    count, size = int(kept.sum()), tuple(masks.shape[-2:])
    return {
        "boxes": tv_tensors.BoundingBoxes(boxes[kept], format="XYXY", canvas_size=size),
        "labels": torch.ones(count, dtype=torch.int64),
        "masks": tv_tensors.Mask(masks[kept].to(torch.uint8)),
        "image_id": image_id,
        "area": (width * height)[kept],
        "iscrowd": torch.zeros(count, dtype=torch.int64),
    }
