"""The annotations of a COCO file sorted by image, with everything that is wrong with them.

Segmentations stay packed until an image is asked for: a hundred thousand of them cost a fraction
of the memory of their JSON, and processes that load images share them without a copy each.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..check_report import Problem
from ..protocol import Dropped
from .document import ImageEntry, is_number
from .segmentation import Segmentation, Unsound, inspect


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationIndex:
    """M annotations, image by image, in the order of the file within one.

    All of them are measured with, as pycocotools does; those that cannot be trained on, because
    they have no mask or repeat another, are not `usable`.

    Attributes:
        starts: int64 [I + 1], where each image's annotations begin.
        ids: int64 [M], ids of the annotations.
        labels: int64 [M].
        boxes: float64 [M, 4], x y width height as in the file; NaN where it names none.
        areas: float64 [M], square pixels as in the file; NaN where it names none.
        crowd: bool [M].
        usable: bool [M], whether there is something to decode that repeats no other annotation.
        dropped: what is not usable and why, by image.
    """

    starts: NDArray[np.int64]
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    dropped: dict[int, list[Dropped]]
    _packed: NDArray[np.uint8]
    _bounds: NDArray[np.int64]

    def of(self, image: int) -> list[int]:
        """The usable annotations of an image."""
        return [row for row in self.all_of(image) if self.usable[row]]

    def all_of(self, image: int) -> range:
        """The annotations of an image, those to measure with only among them."""
        return range(int(self.starts[image]), int(self.starts[image + 1]))

    def segmentation(self, annotation: int) -> Segmentation:
        """As it stands in the file."""
        first, last = self._bounds[annotation : annotation + 2]
        return pickle.loads(self._packed[first:last].data)  # bytes that were packed in this process


@dataclass(slots=True)
class _Row:
    """One annotation on its way into the index."""

    image: int
    id: int
    label: int
    box: list[float]
    area: float
    crowd: bool
    usable: bool
    packed: bytes


@dataclass(slots=True)
class _Reader:
    """Reads annotations one by one and keeps what it has seen."""

    images: Mapping[int, tuple[int, ImageEntry]]
    names: Mapping[int, str]
    labels: Mapping[str, int]
    file: str
    problems: list[Problem]
    rows: list[_Row] = field(default_factory=list)
    dropped: dict[int, list[Dropped]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    first: dict[tuple[int, int, bytes], int] = field(default_factory=dict)

    def read(self, place: int, entry: Any) -> None:
        """Take one annotation in, leave it out with a reason, or note what is wrong with it."""
        if not isinstance(entry, Mapping) or type(entry.get("id")) is not int:
            found = entry.get("id") if isinstance(entry, Mapping) else entry
            self._fault(f"annotation number {place}", f"an integer id, found {found!r}; number it")
            return
        name = f"annotation {entry['id']}"
        if entry["id"] in self.seen:
            self._fault(name, "every id once, found it again; renumber the annotations")
            return
        self.seen.add(entry["id"])
        image, category = entry.get("image_id"), entry.get("category_id")
        if type(image) is not int or image not in self.images:
            self._fault(name, f"the id of an image, found image_id {image!r}; remove or mend it")
        elif type(category) is not int or category not in self.names:
            known = ", ".join(str(known) for known in list(self.names)[:8])
            self._fault(
                name, f"the id of a category ({known}), found category_id {category!r}; mend it"
            )
        elif self.names[category] in self.labels:
            self._take(entry, name, *self.images[image])

    def _take(self, entry: Mapping[str, Any], name: str, position: int, image: ImageEntry) -> None:
        segmentation, label = (
            entry.get("segmentation"),
            self.labels[self.names[entry["category_id"]]],
        )
        try:
            reason = inspect(segmentation, (image.height, image.width))
        except Unsound as unsound:
            self.problems.append(Problem("error", self.file, f"{name} of {image}: {unsound}"))
            return
        crowd, area = entry.get("iscrowd", 0), entry.get("area")
        if crowd not in (0, 1):
            self._fault(f"{name} of {image}", f"iscrowd 0 or 1, found {crowd!r}; mend it")
            return
        packed = pickle.dumps(segmentation, protocol=pickle.HIGHEST_PROTOCOL)
        if reason is None:
            before = self.first.setdefault((position, label, packed), entry["id"])
            reason = None if before == entry["id"] else f"it repeats annotation {before}"
        if reason is not None:
            self.dropped.setdefault(position, []).append(Dropped(entry["id"], reason))
        box = _box(entry.get("bbox"))
        own = float(area) if is_number(area) else np.nan
        usable = reason is None
        row = _Row(position, entry["id"], label, box, own, bool(crowd), usable, packed)
        self.rows.append(row)

    def _fault(self, subject: str, message: str) -> None:
        self.problems.append(Problem("error", self.file, f"{subject}: expected {message}"))


def _box(found: Any) -> list[float]:
    """Four finite numbers, or NaN."""
    if isinstance(found, list) and len(found) == 4 and all(map(is_number, found)):
        box = [float(number) for number in found]
        if np.isfinite(box).all():
            return box
    return [np.nan] * 4


def index_annotations(
    entries: Sequence[Any],
    images: Sequence[ImageEntry],
    *,
    names: Mapping[int, str],
    labels: Mapping[str, int],
    file: str,
    problems: list[Problem],
) -> AnnotationIndex:
    """Sort annotations by image.

    Args:
        entries: the list "annotations" of the file.
        images: the images, in the order that positions refer to.
        names: of the categories, by id.
        labels: of the categories to keep, by name.
        file: for messages.
        problems: what is wrong is added to it; such annotations are not in the index.
    """
    positions = {image.id: (position, image) for position, image in enumerate(images)}
    reader = _Reader(positions, names, labels, file, problems)
    for place, entry in enumerate(entries):
        reader.read(place, entry)
    rows = sorted(reader.rows, key=lambda row: row.image)  # stable: the file's order is kept
    counts = np.bincount([row.image for row in rows], minlength=len(images))
    sizes = [len(row.packed) for row in rows]
    return AnnotationIndex(
        starts=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        ids=np.array([row.id for row in rows], np.int64),
        labels=np.array([row.label for row in rows], np.int64),
        boxes=np.array([row.box for row in rows], np.float64).reshape(-1, 4),
        areas=np.array([row.area for row in rows], np.float64),
        crowd=np.array([row.crowd for row in rows], np.bool_),
        usable=np.array([row.usable for row in rows], np.bool_),
        dropped=reader.dropped,
        _packed=np.frombuffer(b"".join(row.packed for row in rows), np.uint8),
        _bounds=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
    )
