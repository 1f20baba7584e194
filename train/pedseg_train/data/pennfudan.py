"""Images and people of a folder in the Penn-Fudan layout, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.errors import DatasetError

from .classes import renamed, select_classes
from .digests import dataset_digest
from .id_maps import id_extents
from .pennfudan_layout import (
    check_root,
    find_image,
    find_mask,
    image_names,
    instance_ids,
    read_mask,
    read_named_image,
    read_pair,
    split_instances,
)
from .protocol import Dropped, Extents, Instances, tight_boxes

PERSON = "person"


class PennFudanImages:
    """Images and instance masks in the Penn-Fudan layout (see `layout`), sorted by name.

    Every instance is a person; its area is that of its box, as in the tutorial. Names are those of
    the files without suffix.

    Args:
        root: the folder that holds PNGImages and PedMasks.
        categories: nothing but "person" can be selected.
        class_names: the labels to give, background first; see `open_dataset`.
        class_map: another name for "person".

    Raises:
        DatasetError: no such folder, another layout, no image, an image without a mask, or
            classes without "person".
    """

    box_edge = 0

    def __init__(
        self,
        root: str | Path,
        *,
        categories: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        class_map: Mapping[str, str] | None = None,
    ) -> None:
        self.root = Path(root)
        check_root(self.root)
        self.names = tuple(image_names(self.root))
        self._check_files()
        (name,) = renamed({1: PERSON}, class_map or {}, source=self.root).values()
        self.class_names, labels = select_classes(
            self.root, [name], categories=categories, class_names=class_names
        )
        self._label = labels[name]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return find_image(self.root, self.names[index])

    def image(self, index: int) -> NDArray[np.uint8]:
        """An image as uint8 [H, W, 3] RGB."""
        return read_named_image(self.path(index))

    def sample(self, index: int) -> tuple[NDArray[np.uint8], Instances]:
        """An image, uint8 [H, W, 3] RGB, and its people in the order of their ids."""
        image, ids = read_pair(self.root, self.names[index])
        return image, people(ids, self._label)

    def annotations(self, index: int) -> None:
        """None: the truth of this layout is the tutorial's target."""

    def dropped(self, index: int) -> tuple[Dropped, ...]:
        """The people whose box has no width or no height."""
        ids = read_mask(find_mask(self.root, self.names[index]))
        return without_extent(id_extents(ids, self._label))

    def digest(self) -> dict[str, str]:
        """The digest of each folder, see `digests`."""
        return dataset_digest(self.root)

    def _check_files(self) -> None:
        """Listing is cheap, so an unusable folder is refused before training starts."""
        if not self.names:
            raise DatasetError(
                f"{self.root}: expected PNG files in PNGImages, found none (JPEG will do too); "
                "images of other formats must be converted"
            )
        unmasked = [name for name in self.names if not find_mask(self.root, name).is_file()]
        if unmasked:
            more = f" (and {len(unmasked) - 1} more images)" if len(unmasked) > 1 else ""
            raise DatasetError(
                f"{find_image(self.root, unmasked[0])}: expected the mask "
                f"{find_mask(self.root, unmasked[0])}, found nothing{more}; `pedseg-data check "
                f"{self.root}` lists what is missing"
            )


def people(ids: NDArray[np.integer], label: int = 1) -> Instances:
    """Ids [H, W] -> one instance per id, ascending."""
    masks, found = split_instances(ids), instance_ids(ids)
    boxes = tight_boxes(masks)
    return Instances(
        masks=masks,
        boxes=boxes,
        labels=np.full(len(found), label, np.int64),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1).astype(np.float64),
        crowd=np.zeros(len(found), np.bool_),
        ids=found.astype(np.int64),
    )


def without_extent(found: Extents) -> tuple[Dropped, ...]:
    """The instances that a detector cannot learn for want of a box; not those without a pixel."""
    thin = ~found.has_extent & (found.pixels > 0)
    return tuple(
        Dropped(instance, f"its box is {x2 - x1} px wide and {y2 - y1} px high")
        for instance, (x1, y1, x2, y2) in zip(
            found.ids[thin].tolist(), found.boxes[thin].tolist(), strict=True
        )
    )
