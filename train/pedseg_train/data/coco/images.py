"""Labelled images of a COCO JSON file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.errors import DatasetError
from pedseg_runtime.files import sha256_of

from ..check_report import Problem
from ..classes import select_classes
from ..digests import digest_of_files
from ..pennfudan import without_extent
from ..pennfudan_layout import read_named_image
from ..protocol import Dropped, ImageAnnotations, Instances, tight_boxes
from .annotations import index_annotations
from .document import (
    ImageEntry,
    find_images,
    load_document,
    missing_files,
    read_categories,
    read_images,
)
from .segmentation import Unsound, decode, overhang
from .truth import as_given


class CocoImages:
    """Images and instances of a COCO JSON file, sorted by name.

    A name is the file name without its suffix, or with it if two images would share one.
    Masks are decoded when an image is asked for; parts of them outside of the frame are cut off.
    The area of an instance is its annotation's own, or its number of pixels where that has none.

    Args:
        file: the COCO JSON file.
        categories: the names of the categories to keep; all by default.
        class_names: the labels to give, background first; see `open_dataset`.
        images: the folder of the images; found beside `file` by default, see `files`.
        tolerant: leave out what is wrong instead of refusing it; `problems` tells what.

    Attributes:
        file: the COCO JSON file.
        folder: where the images are.
        names: one per image.
        class_names: one name per label, background first.
        image_ids: the id of every image in the file.
        category_ids: the id of every label's category in the file; None for the background, and
            for classes that the file lacks.
        problems: what is wrong with the file.

    Raises:
        DatasetError: the first thing that is wrong, and how many more there are.
    """

    box_edge = 1

    def __init__(
        self,
        file: str | Path,
        *,
        categories: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        images: str | Path | None = None,
        tolerant: bool = False,
    ) -> None:
        self.file = Path(file)
        self.problems: list[Problem] = []
        document, name = load_document(self.file), self.file.name
        known = read_categories(document["categories"], name, self.problems)
        entries = read_images(document["images"], name, self.problems)
        self._refuse(tolerant)
        self.class_names, labels = select_classes(
            self.file, list(known.values()), categories=categories, class_names=class_names
        )
        by_label = {labels[kept]: category for category, kept in known.items() if kept in labels}
        self.category_ids = tuple(by_label.get(label) for label in range(len(self.class_names)))
        self._take(_named(entries), images)
        self._index = index_annotations(
            document["annotations"],
            self._entries,
            names=known,
            labels=labels,
            file=name,
            problems=self.problems,
        )
        if not self._index.usable.any():
            self._error(f"expected instances of {', '.join(self.class_names[1:])}, found none")
        self._refuse(tolerant)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.folder / self._entries[index].file_name

    def image(self, index: int) -> NDArray[np.uint8]:
        """An image as uint8 [H, W, 3] RGB."""
        return read_named_image(self.path(index))

    def sample(self, index: int) -> tuple[NDArray[np.uint8], Instances]:
        """An image, uint8 [H, W, 3] RGB, and its instances in the order of the file."""
        image, entry = self.image(index), self._entries[index]
        height, width = image.shape[:2]
        if (height, width) != (entry.height, entry.width):
            turned = (width, height) == (entry.height, entry.width)
            hint = "; the file is turned by its EXIF orientation, save it upright" if turned else ""
            raise DatasetError(
                f"{self.path(index)}: expected {entry.width}x{entry.height} pixels as {self.file} "
                f"says for image {entry.id}, found {width}x{height}; annotation and image must "
                f"cover the same pixels{hint}"
            )
        return image, self.instances(index)

    def instances(self, index: int) -> Instances:
        """All instances of an image, crowd regions among them, without reading the image.

        Raises:
            DatasetError: run lengths that do not fill the frame.
        """
        entry = self._entries[index]
        found = list(self._decoded(index))
        masks = np.zeros((len(found), entry.height, entry.width), np.bool_)
        for place, (_, mask) in enumerate(found):
            masks[place] = mask
        covered = masks.any(axis=(1, 2))
        masks, rows = masks[covered], np.array([row for row, _ in found], np.int64)[covered]
        areas = self._index.areas[rows]
        return Instances(
            masks=masks,
            boxes=tight_boxes(masks),
            labels=self._index.labels[rows],
            areas=np.where(areas > 0, areas, masks.sum(axis=(1, 2))),
            crowd=self._index.crowd[rows],
            ids=self._index.ids[rows],
            edge=self.box_edge,
        )

    def annotations(self, index: int) -> ImageAnnotations:
        """Everything annotated on an image as the file has it, without reading the image.

        Raises:
            DatasetError: run lengths that do not fill the frame.
        """
        entry = self._entries[index]
        size, given = (entry.height, entry.width), []
        for row in self._index.all_of(index):
            try:
                given.append(as_given(self._index, row, size))
            except Unsound as unsound:
                raise self._damaged(row, entry, unsound) from unsound
        return ImageAnnotations(entry.id, size, [one for one in given if one is not None])

    def dropped(self, index: int) -> tuple[Dropped, ...]:
        """The annotations that neither training nor measuring uses, and why."""
        instances = self.instances(index)
        known = set(instances.ids.tolist())
        hollow = [
            Dropped(int(self._index.ids[row]), self._emptiness(row, index))
            for row in self._index.of(index)
            if int(self._index.ids[row]) not in known
        ]
        return (*self._index.dropped.get(index, ()), *hollow, *without_extent(instances))

    def clipped(self, index: int) -> tuple[tuple[int, float], ...]:
        """Ids of annotations whose polygons leave the frame by more than a pixel, and how far."""
        entry = self._entries[index]
        size = (entry.height, entry.width)
        far = [
            (row, overhang(self._index.segmentation(row), size)) for row in self._index.of(index)
        ]
        return tuple((int(self._index.ids[row]), pixels) for row, pixels in far if pixels > 1)

    def digest(self) -> dict[str, str]:
        """SHA-256 of the annotations' file, of the images (see `digests`) and of the classes.

        The images are taken by their names in the file, in ascending order.
        """
        files = {
            entry.file_name: sha256_of(self.folder / entry.file_name) for entry in self._entries
        }
        return {
            "annotations": sha256_of(self.file),
            "images": digest_of_files(files),
            "classes": hashlib.sha256("\n".join(self.class_names).encode()).hexdigest(),
        }

    def _take(self, named: dict[str, ImageEntry], images: str | Path | None) -> None:
        """Keep the images, sorted by name, that are there."""
        files = sorted(entry.file_name for entry in named.values())
        self.folder = Path(images) if images is not None else find_images(self.file, files)
        missing = set(missing_files(self.folder, files))
        for _, entry in sorted(named.items()):
            if entry.file_name in missing:
                self._error(
                    f"{entry}: expected the file {self.folder / entry.file_name}, found nothing; "
                    "name the images' folder with --images"
                )
        if not named:
            self._error("expected at least one image, found none; name another file")
        self.names = tuple(sorted(named))
        self._entries = [named[name] for name in self.names]
        self.image_ids = tuple(entry.id for entry in self._entries)

    def _decoded(self, index: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """The rows of an image in the index, and their masks [H, W]."""
        entry = self._entries[index]
        for row in self._index.of(index):
            try:
                yield row, decode(self._index.segmentation(row), (entry.height, entry.width))
            except Unsound as unsound:
                raise self._damaged(row, entry, unsound) from unsound

    def _damaged(self, row: int, entry: ImageEntry, unsound: Unsound) -> DatasetError:
        return DatasetError(
            f"{self.file}: annotation {self._index.ids[row]} of {entry}: {unsound}; mend or remove "
            "it"
        )

    def _emptiness(self, row: int, index: int) -> str:
        entry, segmentation = self._entries[index], self._index.segmentation(row)
        return (
            "its polygon lies outside of the frame or has no area"
            if isinstance(segmentation, list)
            else f"its run lengths have no pixel of {entry.width}x{entry.height}"
        )

    def _error(self, message: str) -> None:
        self.problems.append(Problem("error", self.file.name, message))

    def _refuse(self, tolerant: bool) -> None:
        """Raise the first problem unless they are only to be listed."""
        if not self.problems or tolerant:
            return
        more = len(self.problems) - 1
        others = f" (and {more} more; `pedseg-data check {self.file}` lists them)" if more else ""
        raise DatasetError(f"{self.file}: {self.problems[0].message}{others}")


def _named(entries: Sequence[ImageEntry]) -> dict[str, ImageEntry]:
    """The images by name."""
    named = {str(PurePosixPath(entry.file_name).with_suffix("")): entry for entry in entries}
    return named if len(named) == len(entries) else {entry.file_name: entry for entry in entries}
