"""Write a dataset in another layout: Penn-Fudan as COCO JSON, and back."""

from __future__ import annotations

import enum
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime.errors import DatasetError

from . import layout
from .coco import files as coco_files
from .coco.writing import CocoWriter
from .layout import Progress
from .pennfudan import PennFudanPictures
from .protocol import Instances, LabelledPictures

COCO_FILE = "instances.json"
_LARGEST_GREY = 255  # ids that fit into 8 bits


class Layout(enum.StrEnum):
    """What a dataset can be written as."""

    COCO = "coco"
    PENNFUDAN = "pennfudan"


def convert(
    pictures: LabelledPictures,
    target: Path,
    *,
    to: Layout,
    overlap: bool = False,
    link: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write `pictures` to the folder `target`, which appears only when it is complete.

    COCO JSON: `images/` and `annotations/instances.json`, masks as run lengths, nothing lost.
    Penn-Fudan: `PNGImages/` and `PedMasks/`, the instances of a picture numbered from 1 in their
    order. It has one class, and one instance per pixel; crowd regions have no place in it.

    Args:
        pictures: what `open_pictures` returns.
        target: a new or empty folder.
        to: the layout to write.
        overlap: for Penn-Fudan, give a pixel of several instances to the first of them instead of
            refusing; instances without a pixel of their own vanish.
        link: make symbolic links to the pictures instead of copies, where their format is kept.
        progress: called with the number of pictures done and their total after each of them.

    Returns:
        How many "pictures" and "instances" were written and, of the rest, how many "crowds" and
        "hidden" instances were left out, "overlapping" instances lost pixels, "unusable"
        annotations had no mask, and pictures were "reencoded".

    Raises:
        DatasetError: a target in use, several classes or overlapping instances for Penn-Fudan, or
            pictures that cannot be read.
    """
    with _new_folder(target) as fresh:
        writer = _CocoFolder if to is Layout.COCO else _PennFudanFolder
        folder = writer(pictures, fresh, overlap=overlap, link=link)
        for index in range(len(pictures)):
            picture, instances = pictures.sample(index)
            folder.add(index, picture, instances)
            folder.count["pictures"] += 1
            # Thin instances are in no target, yet in the masks; they are written like all others.
            thin = int((~instances.has_extent).sum())
            folder.count["unusable"] += len(pictures.dropped(index)) - thin
            if progress is not None:
                progress(index + 1, len(pictures))
        folder.finish()
    return dict(folder.count)


class _Folder:
    """A dataset that is being written."""

    def __init__(
        self, pictures: LabelledPictures, root: Path, *, overlap: bool, link: bool
    ) -> None:
        self.pictures, self.root, self.overlap, self.link = pictures, root, overlap, link
        keys = ("pictures", "instances", "crowds", "hidden", "overlapping", "unusable", "reencoded")
        self.count = Counter(dict.fromkeys(keys, 0))

    def add(self, index: int, picture: NDArray[np.uint8], instances: Instances) -> None:
        """Write one picture and what is on it."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write what is left to write."""

    def place(self, index: int, target: Path) -> None:
        """Copy or link the file of a picture."""
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self.pictures.path(index)
        if self.link:
            target.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, target)


class _CocoFolder(_Folder):
    def __init__(
        self, pictures: LabelledPictures, root: Path, *, overlap: bool, link: bool
    ) -> None:
        super().__init__(pictures, root, overlap=overlap, link=link)
        self._writer = CocoWriter(
            pictures.class_names, box_areas=isinstance(pictures, PennFudanPictures)
        )

    def add(self, index: int, picture: NDArray[np.uint8], instances: Instances) -> None:
        suffix = self.pictures.path(index).suffix
        name = self.pictures.names[index]
        file_name = name if name.endswith(suffix) else f"{name}{suffix}"
        self.place(index, self.root / coco_files.IMAGES / file_name)
        self._writer.add(file_name, picture.shape[:2], instances)
        self.count["instances"] += len(instances)

    def finish(self) -> None:
        file = self.root / coco_files.ANNOTATIONS / COCO_FILE
        file.parent.mkdir()
        file.write_text(json.dumps(self._writer.document(), allow_nan=False), encoding="utf-8")


class _PennFudanFolder(_Folder):
    def __init__(
        self, pictures: LabelledPictures, root: Path, *, overlap: bool, link: bool
    ) -> None:
        super().__init__(pictures, root, overlap=overlap, link=link)
        classes = pictures.class_names[1:]
        if len(classes) > 1:
            raise DatasetError(
                f"expected one category, since the Penn-Fudan layout has one class, found "
                f"{len(classes)} ({', '.join(classes[:8])}); select one with --categories"
            )
        names = [name.replace("/", "_") for name in pictures.names]
        if len(set(names)) < len(names):
            raise DatasetError(
                "expected names that differ without their folders, since the Penn-Fudan layout has "
                "none, found some twice; rename the files"
            )
        self._names = names
        for folder in (layout.IMAGES, layout.MASKS):
            (root / folder).mkdir()

    def add(self, index: int, picture: NDArray[np.uint8], instances: Instances) -> None:
        kept = instances[~instances.crowd]
        self.count["crowds"] += len(instances) - len(kept)
        ids = self._flatten(kept.masks, picture.shape[:2])
        name = self._names[index]
        Image.fromarray(ids).save(layout.mask_path(self.root, name))
        target = layout.image_path(self.root, name)
        if self.pictures.path(index).suffix == target.suffix:
            self.place(index, target)
        else:
            Image.fromarray(picture).save(target)
            self.count["reencoded"] += 1

    def finish(self) -> None:
        if self.count["overlapping"] and not self.overlap:
            raise DatasetError(
                f"expected instances apart from each other, since a Penn-Fudan mask has one "
                f"instance per pixel, found {self.count['overlapping']} that overlap another; "
                "--overlap first gives such pixels to the first of them"
            )

    def _flatten(
        self, masks: NDArray[np.bool_], size: tuple[int, ...]
    ) -> NDArray[np.uint8 | np.uint16]:
        """Masks [N, H, W] -> ids [H, W] from 1, the first instance on top."""
        ids = np.zeros(size, np.uint8 if len(masks) <= _LARGEST_GREY else np.uint16)
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
    """Yield a folder beside `target` that takes its place if the block succeeds."""
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
