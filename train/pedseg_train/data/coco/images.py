"""Labelled images of a COCO JSON file."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.errors import DatasetError
from pedseg_runtime.files import sha256_of

from ..check_report import Problem
from ..classes import renamed, select_classes
from ..digests import digest_of_files
from ..pennfudan import without_extent
from ..pennfudan_layout import orientation_of, read_named_image
from ..protocol import Dropped, Extents, ImageAnnotations, Instances, extent_of, tight_boxes
from .annotations import index_annotations, nothing_found
from .document import ImageEntry, identities, load_document, read_categories, read_images
from .files import find_folder, locate, plain_names
from .segmentation import Segmentation, Unsound, decode, overhang, short_rings
from .truth import as_given


class CocoImages:
    """Images and instances of a COCO JSON file, sorted by name.

    A name is the file name without its suffix, or with it if two images would share one; of file
    names that are absolute or step up, the part that tells them apart (see `files.plain_names`).
    Masks are decoded when an image is asked for; parts of them outside of the frame are cut off.
    The area of an instance is its annotation's own, or its number of pixels where that has none.

    Args:
        file: the COCO JSON file.
        categories: the names of the categories to keep; all by default.
        class_names: the labels to give, background first; see `open_dataset`.
        class_map: other names for categories, by the file's own; several may become one.
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
        present: whether each image's file is there.
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
        class_map: Mapping[str, str] | None = None,
        images: str | Path | None = None,
        tolerant: bool = False,
    ) -> None:
        self.file, self._images = Path(file), images
        self.problems: list[Problem] = []
        document, name = load_document(self.file), self.file.name
        used = identities(document["annotations"], "category_id")
        known = read_categories(document["categories"], used, name, self.problems)
        known = renamed(known, class_map or {}, source=self.file)
        entries = read_images(document["images"], name, self.problems)
        self._refuse(tolerant)
        self.class_names, labels = select_classes(
            self.file,
            list(dict.fromkeys(known.values())),
            categories=categories,
            class_names=class_names,
        )
        by_label = {labels[kept]: category for category, kept in known.items() if kept in labels}
        self.category_ids = tuple(by_label.get(label) for label in range(len(self.class_names)))
        self._take(_named(entries))
        good = set(self.image_ids)
        self._index = index_annotations(
            document["annotations"],
            self._entries,
            names=known,
            labels=labels,
            file=name,
            problems=self.problems,
            broken=identities(document["images"], "id") - good,
        )
        if not self._index.usable.any() and not self._errors():
            self._error(nothing_found(self._index, self.class_names))
        self._refuse(tolerant)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self._paths[index]

    def file_name(self, index: int) -> str:
        """The name of an image's file as the COCO file has it, with forward slashes."""
        return self._entries[index].file_name

    def image(self, index: int) -> NDArray[np.uint8]:
        """An image as uint8 [H, W, 3] RGB."""
        return read_named_image(self.path(index))

    def sample(self, index: int) -> tuple[NDArray[np.uint8], Instances]:
        """An image, uint8 [H, W, 3] RGB, and its instances in the order of the file."""
        image = self.image(index)
        self._check_size(index, image.shape)
        return image, self.instances(index)

    def check_size(self, index: int) -> tuple[int, int]:
        """Read an image and return its (height, width).

        Raises:
            DatasetError: a damaged image, or one of another size than the file says.
        """
        shape = self.image(index).shape
        self._check_size(index, shape)
        return shape[0], shape[1]

    def _check_size(self, index: int, shape: tuple[int, ...]) -> None:
        (height, width), entry = shape[:2], self._entries[index]
        if (height, width) == (entry.height, entry.width):
            return
        hint = self._size_hint(index) if (width, height) == (entry.height, entry.width) else ""
        raise DatasetError(
            f"{self.path(index)}: expected {entry.width}x{entry.height} pixels as {self.file} "
            f"says for image {entry.id}, found {width}x{height}; annotation and image must "
            f"cover the same pixels{hint}"
        )

    def instances(self, index: int) -> Instances:
        """All instances of an image, crowd regions among them, without reading the image.

        Raises:
            DatasetError: run lengths that do not fill the frame.
        """
        entry, rows = self._entries[index], self._index.of(index)
        masks = np.zeros((len(rows), entry.height, entry.width), np.bool_)
        for place, (_, mask) in enumerate(self._decoded(index)):
            masks[place] = mask
        covered = masks.any(axis=(1, 2))
        if not covered.all():
            masks, rows = masks[covered], np.array(rows, np.int64)[covered].tolist()
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

    def extents(self, index: int) -> Extents:
        """Where the instances of an image are, one mask after the other in memory.

        Raises:
            DatasetError: run lengths that do not fill the frame.
        """
        rows = self._index.of(index)
        measured = [extent_of(mask) for _, mask in self._decoded(index)]
        return Extents(
            ids=self._index.ids[rows],
            labels=self._index.labels[rows],
            crowd=self._index.crowd[rows],
            boxes=np.array([box for box, _ in measured], np.int64).reshape(-1, 4),
            pixels=np.array([pixels for _, pixels in measured], np.int64),
            edge=self.box_edge,
        )

    def dropped(self, index: int) -> tuple[Dropped, ...]:
        """The annotations that neither training nor measuring uses, and why."""
        found, rows = self.extents(index), self._index.of(index)
        hollow = [
            Dropped(int(self._index.ids[row]), self._emptiness(row, index))
            for row, pixels in zip(rows, found.pixels, strict=True)
            if not pixels
        ]
        return (*self._index.dropped.get(index, ()), *hollow, *without_extent(found))

    def remarks(self, index: int) -> Iterator[tuple[int, str]]:
        """Ids of annotations of which parts are left out, and which."""
        size = (self._entries[index].height, self._entries[index].width)
        for row in self._index.of(index):
            segmentation = self._index.segmentation(row)
            pixels, short = overhang(segmentation, size), short_rings(segmentation)
            if pixels > 1:
                yield (
                    int(self._index.ids[row]),
                    f"reaches {pixels:.0f} px out of the frame and is cut off",
                )
            if short:
                yield (
                    int(self._index.ids[row]),
                    f"has {short} polygons of fewer than three points, which are left out",
                )

    def file_boxes(self, index: int) -> NDArray[np.float64]:
        """The file's own boxes of what `extents` lists, [N, 4] x y width height; NaN for none."""
        return self._index.boxes[self._index.of(index)]

    def segmentations(self, index: int) -> list[Segmentation]:
        """The segmentations of what `extents` lists, polygons in COCO's way."""
        return [self._index.segmentation(row) for row in self._index.of(index)]

    def digest(self) -> dict[str, str]:
        """SHA-256 of the annotations' file, of the images (see `digests`) and of the classes.

        The images are taken by their names in the file, in ascending order.
        """
        files = {
            entry.file_name: sha256_of(path)
            for entry, path in zip(self._entries, self._paths, strict=True)
        }
        return {
            "annotations": sha256_of(self.file),
            "images": digest_of_files(files),
            "classes": hashlib.sha256("\n".join(self.class_names).encode()).hexdigest(),
        }

    def _take(self, named: dict[str, ImageEntry]) -> None:
        """Keep the images, sorted by name; note those whose files are not there."""
        names, named_folder = sorted(named), self._images
        self._entries = [named[name] for name in names]
        files = [entry.file_name for entry in self._entries]
        self.folder = find_folder(self.file, files) if named_folder is None else Path(named_folder)
        found = locate(self.folder, files)
        first: dict[Path, ImageEntry] = {}
        for entry, path in zip(self._entries, found, strict=True):
            if path is None:
                self._error(
                    f"{entry}: expected the file {self.folder / entry.file_name}, found nothing; "
                    f"name {'another' if named_folder else 'the'} folder of images with --images"
                )
            elif first.setdefault(path, entry) != entry:
                self._error(
                    f"{entry}: expected a file of its own, found {path}, which is {first[path]} "
                    "too; give --images the folder that holds their folders"
                )
        if not named and not self._errors():
            self._error("expected at least one image, found none; name another file")
        self.names = tuple(names)
        self.present = tuple(path is not None for path in found)
        self._paths = [
            self.folder / entry.file_name if path is None else path
            for entry, path in zip(self._entries, found, strict=True)
        ]
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

    def _size_hint(self, index: int) -> str:
        turn = orientation_of(self.path(index))
        if turn is None:
            return "; exchange width and height in the file"
        return (
            f"; the image is turned by its EXIF orientation {turn}: if the annotations fit what a "
            "viewer shows, exchange width and height in the file, else remove the orientation from "
            "the image (exiftool -Orientation= FILE)"
        )

    def _errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]

    def _error(self, message: str) -> None:
        self.problems.append(Problem("error", self.file.name, message))

    def _refuse(self, tolerant: bool) -> None:
        """Raise the first problem unless they are only to be listed."""
        errors = self._errors()
        if not errors or tolerant:
            return
        more = len(errors) - 1
        words = ["pedseg-data", "check", str(self.file)]
        words += [] if self._images is None else ["--images", str(self._images)]
        others = f" (and {more} more; `{shlex.join(words)}` lists them)" if more else ""
        raise DatasetError(f"{self.file}: {errors[0].message}{others}")


def _named(entries: Sequence[ImageEntry]) -> dict[str, ImageEntry]:
    """The images by name."""
    full = plain_names([entry.file_name for entry in entries])
    short = [name.removesuffix(PurePosixPath(name).suffix) for name in full]
    names = short if len(set(short)) == len(short) else full
    return dict(zip(names, entries, strict=True))
