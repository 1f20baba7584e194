"""Write a dataset in another layout: Penn-Fudan as COCO JSON, and back."""

from __future__ import annotations

import enum
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime.errors import DatasetError

from . import pennfudan_layout
from .coco import files as coco_files
from .coco.segmentation import encode
from .file_names import portable
from .pennfudan import PennFudanImages
from .pennfudan_layout import Progress, orientation_of
from .protocol import Instances, LabelledImages


class CocoWriter:
    """Collects images one by one; ids count from 1 in that order.

    Masks become compressed run lengths, so no pixel is lost. Boxes are those of the masks in COCO's
    way: x y of the first pixel's corner, and width and height in whole pixels. Areas are kept, but
    for those that only repeat the tutorial's rule: COCO's area is the number of pixels.

    Args:
        class_names: background first; a category gets its label as id.
        box_areas: whether the instances' areas are those of their boxes.
    """

    def __init__(self, class_names: Sequence[str], *, box_areas: bool) -> None:
        self._box_areas = box_areas
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = [
            {"id": label, "name": name} for label, name in enumerate(class_names) if label
        ]

    def add(self, file_name: str, size: tuple[int, ...], instances: Instances) -> None:
        """Take in one image of (height, width) `size`."""
        image = len(self._images) + 1
        self._images.append(
            {"id": image, "file_name": file_name, "width": size[1], "height": size[0]}
        )
        for place, mask in enumerate(instances.masks):
            x1, y1, x2, y2 = instances.boxes[place].tolist()
            area = mask.sum() if self._box_areas else instances.areas[place]
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image,
                    "category_id": int(instances.labels[place]),
                    "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
                    "area": float(area),
                    "iscrowd": int(instances.crowd[place]),
                    "segmentation": encode(mask),
                }
            )

    def document(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "info": {"description": "converted by pedseg-data"},
            "images": self._images,
            "annotations": self._annotations,
            "categories": self._categories,
        }


COCO_FILE = "instances.json"
COUNTED = (
    "images",
    "instances",
    "crowds",
    "hidden",
    "overlapping",
    "unusable",
    "reencoded",
    "renamed",
)
_MAX_UINT8 = 255


class Layout(enum.StrEnum):
    """What a dataset can be written as."""

    COCO = "coco"
    PENNFUDAN = "pennfudan"


def convert(
    dataset: LabelledImages,
    target: Path,
    *,
    to: Layout,
    overlap: bool = False,
    link: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write `dataset` to the folder `target`, which appears only when it is complete.

    COCO JSON: `images/` and `annotations/instances.json`, masks as run lengths, nothing lost.
    Penn-Fudan: `PNGImages/` and `PedMasks/`, the instances of an image numbered from 1 in their
    order. It has one class, one instance per pixel, and no crowd regions.

    Args:
        dataset: from `open_images`.
        target: a new or empty folder.
        to: the layout to write.
        overlap: for Penn-Fudan, give a pixel of several instances to the first of them instead of
            refusing; hidden instances are left out.
        link: make symbolic links to the images instead of copies, unless their format changes.
        progress: called after each image with the number done and the total.

    Returns:
        Counts: "images" (images) and "instances" written, "crowds" and "hidden" instances left
        out, "overlapping" instances that lost pixels, "unusable" annotations without a mask, and
        images "reencoded" or "renamed", since their names would not do everywhere, or not twice.

    Raises:
        DatasetError: a target in use, several classes or overlapping instances for Penn-Fudan, or
            an unreadable image.
    """
    with _new_folder(target) as fresh:
        writer_class = _CocoFolderWriter if to is Layout.COCO else _PennFudanFolderWriter
        writer = writer_class(dataset, fresh, overlap=overlap, link=link)
        for index in range(len(dataset)):
            image, instances = dataset.sample(index)
            writer.add(index, image, instances)
            writer.count["images"] += 1
            # Thin instances are in no target but have a mask, and are written like all others.
            thin = int((~instances.has_extent).sum())
            writer.count["unusable"] += len(dataset.dropped(index)) - thin
            if progress is not None:
                progress(index + 1, len(dataset))
        writer.finish()
    return dict(writer.count)


class _FolderWriter:
    """Writes a dataset image by image."""

    def __init__(self, dataset: LabelledImages, root: Path, *, overlap: bool, link: bool) -> None:
        self.dataset, self.root, self.overlap, self.link = dataset, root, overlap, link
        self.count = Counter(dict.fromkeys(COUNTED, 0))

    def choose_names(self, names: Sequence[str]) -> None:
        """Take `names`, relative and with forward slashes, or others where they cannot stay."""
        self.names = portable(names)
        self.count["renamed"] = sum(map(str.__ne__, names, self.names))

    def add(self, index: int, image: NDArray[np.uint8], instances: Instances) -> None:
        """Write one image and its instances."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write the rest, once all images are added."""

    def copy_image(self, index: int, target: Path) -> None:
        """Copy or link the file of an image."""
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self.dataset.path(index)
        if os.path.lexists(target):
            raise DatasetError(f"{source}: expected a name of its own, found another image of it")
        if self.link:
            target.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, target)


class _CocoFolderWriter(_FolderWriter):
    def __init__(self, dataset: LabelledImages, root: Path, *, overlap: bool, link: bool) -> None:
        super().__init__(dataset, root, overlap=overlap, link=link)
        self._writer = CocoWriter(
            dataset.class_names, box_areas=isinstance(dataset, PennFudanImages)
        )
        suffixes = [dataset.path(index).suffix for index in range(len(dataset))]
        self.choose_names(
            [
                name if name.endswith(suffix) else f"{name}{suffix}"
                for name, suffix in zip(dataset.names, suffixes, strict=True)
            ]
        )

    def add(self, index: int, image: NDArray[np.uint8], instances: Instances) -> None:
        file_name = self.names[index]
        self.copy_image(index, self.root / coco_files.IMAGES / file_name)
        self._writer.add(file_name, image.shape[:2], instances)
        self.count["instances"] += len(instances)

    def finish(self) -> None:
        file = self.root / coco_files.ANNOTATIONS / COCO_FILE
        file.parent.mkdir()
        file.write_text(json.dumps(self._writer.document(), allow_nan=False), encoding="utf-8")


class _PennFudanFolderWriter(_FolderWriter):
    def __init__(self, dataset: LabelledImages, root: Path, *, overlap: bool, link: bool) -> None:
        super().__init__(dataset, root, overlap=overlap, link=link)
        classes = dataset.class_names[1:]
        if len(classes) > 1:
            raise DatasetError(
                f"expected one category, since the Penn-Fudan layout has one class, found "
                f"{len(classes)} ({', '.join(classes[:8])}); select one with --categories"
            )
        self.choose_names([f"{name.replace('/', '_')}.png" for name in dataset.names])
        for folder in (pennfudan_layout.IMAGES, pennfudan_layout.MASKS):
            (root / folder).mkdir()

    def add(self, index: int, image: NDArray[np.uint8], instances: Instances) -> None:
        kept = instances[~instances.crowd]
        self.count["crowds"] += len(instances) - len(kept)
        ids = self._mask_ids(kept.masks, image.shape[:2])
        name = self.names[index].removesuffix(".png")
        Image.fromarray(ids).save(pennfudan_layout.mask_path(self.root, name))
        target = pennfudan_layout.image_path(self.root, name)
        source = self.dataset.path(index)
        # The mask is upright, and nothing would tell so beside an image that is not.
        if source.suffix == target.suffix and orientation_of(source) is None:
            self.copy_image(index, target)
        else:
            Image.fromarray(image).save(target)
            self.count["reencoded"] += 1

    def finish(self) -> None:
        if self.count["overlapping"] and not self.overlap:
            raise DatasetError(
                f"expected instances without overlap, since a Penn-Fudan mask has one "
                f"instance per pixel, found {self.count['overlapping']} that overlap another; "
                "--overlap first gives such pixels to the first of them"
            )

    def _mask_ids(
        self, masks: NDArray[np.bool_], size: tuple[int, ...]
    ) -> NDArray[np.uint8 | np.uint16]:
        """Masks [N, H, W] -> ids [H, W] from 1; overlaps go to the first instance."""
        ids = np.zeros(size, np.uint8 if len(masks) <= _MAX_UINT8 else np.uint16)
        number = 0
        for mask in masks:
            free = mask & (ids == 0)
            self.count["overlapping"] += int(free.sum() < mask.sum())
            if not free.any():
                self.count["hidden"] += 1
                continue
            number += 1
            ids[free] = number
        self.count["instances"] += number
        return ids


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` if the block succeeds."""
    target = Path(os.path.realpath(target))  # a link stays, and leads to the new folder
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DatasetError(
            f"{target}: expected a new or empty folder, found something there; choose another"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.rmdir()
        fresh.rename(target)
