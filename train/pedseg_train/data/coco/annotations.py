"""The annotations of a COCO file sorted by image, with everything that is wrong with them.

Segmentations stay packed until an image is asked for: a hundred thousand of them cost a fraction
of the memory of their JSON, and processes that load images share them without a copy each.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..check_report import Problem
from ..protocol import Dropped
from .document import Identity, ImageEntry, identity_of, is_number, quoted, whole
from .segmentation import NO_SEGMENTATION, Segmentation, Unsound, inspect, normalized


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationIndex:
    """M annotations, image by image, in the order of the file within one.

    All of them are measured with, as pycocotools does; those that cannot be trained on, because
    they have no mask or repeat another, are not `usable`.

    Attributes:
        starts: int64 [I + 1], where each image's annotations begin.
        ids: int64 [M], ids of the annotations.
        labels: int64 [M].
        boxes: float64 [M, 4], x y width height as in the file, of any size; NaN where it names
            none.
        areas: float64 [M], square pixels as in the file, of any size; NaN where it names none.
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
    box: tuple[float, ...]
    area: float
    crowd: bool
    usable: bool
    packed: bytes


_NO_BOX = (np.nan,) * 4


@dataclass(slots=True)
class _Reader:
    """Reads annotations one by one and keeps what it has seen."""

    images: Mapping[Identity, tuple[int, ImageEntry]]
    names: Mapping[Identity, str]
    labels: Mapping[str, int]
    file: str
    problems: list[Problem]
    broken: frozenset[Identity]
    next_number: int
    rows: list[_Row] = field(default_factory=list)
    dropped: dict[int, list[Dropped]] = field(default_factory=dict)
    seen: set[Identity] = field(default_factory=set)
    first: dict[tuple[int, int, bytes], int] = field(default_factory=dict)
    numbered: int = 0

    def read(self, place: int, entry: Any) -> None:
        """Take one annotation in, leave it out with a reason, or note what is wrong with it."""
        own = entry.get("id") if isinstance(entry, Mapping) else entry
        identity = identity_of(own) if isinstance(entry, Mapping) else None
        if identity is None:
            self._fault(f"annotation number {place}", f"an id, found {quoted(own)}; number it")
            return
        name = f"annotation {identity}"
        if identity in self.seen:
            self._fault(name, "every id once, found it again; renumber the annotations")
            return
        self.seen.add(identity)
        image, category = (identity_of(entry.get(key)) for key in ("image_id", "category_id"))
        if image in self.broken:
            return  # what is wrong with its image has been told
        if image is None or image not in self.images:
            found = quoted(entry.get("image_id"))
            self._fault(name, f"the id of an image, found image_id {found}; remove or mend it")
        elif category is None or category not in self.names:
            known, found = ", ".join(map(str, [*self.names][:8])), quoted(entry.get("category_id"))
            self._fault(name, f"the id of a category ({known}), found category_id {found}; mend it")
        elif self.names[category] in self.labels:
            number = self._number(identity)
            self._take(entry, name, number, self.labels[self.names[category]], image)

    def _number(self, identity: Identity) -> int:
        """An id that fits into 64 bits: its own, or one beyond those of all others."""
        if fits(identity):
            return int(identity)
        self.numbered += 1
        self.next_number += 1
        return self.next_number - 1

    def _take(
        self, entry: Mapping[str, Any], name: str, number: int, label: int, image_id: Identity
    ) -> None:
        position, image = self.images[image_id]
        segmentation = normalized(entry.get("segmentation"))
        try:
            reason = inspect(segmentation, (image.height, image.width))
        except Unsound as unsound:
            self.problems.append(Problem("error", self.file, f"{name} of {image}: {unsound}"))
            return
        crowd = entry.get("iscrowd")
        crowd = int(crowd) if isinstance(crowd, bool) else whole(0 if crowd is None else crowd)
        if crowd not in (0, 1):
            found = quoted(entry.get("iscrowd"))
            self._fault(f"{name} of {image}", f"iscrowd 0 or 1, found {found}; mend it")
            return
        packed = pickle.dumps(segmentation, protocol=pickle.HIGHEST_PROTOCOL)
        if reason is None:
            before = self.first.setdefault((position, label, packed), number)
            reason = None if before == number else f"it repeats annotation {before}"
        if reason is not None:
            self.dropped.setdefault(position, []).append(Dropped(number, reason))
        box, area = _box(entry.get("bbox")), _number(entry.get("area"))
        usable = reason is None
        row = _Row(position, number, label, box, area, bool(crowd), usable, packed)
        self.rows.append(row)

    def _fault(self, subject: str, message: str) -> None:
        self.problems.append(Problem("error", self.file, f"{subject}: expected {message}"))


def _number(value: Any) -> float:
    """A finite number that JSON has, also as text; else NaN."""
    try:
        number = float(value) if is_number(value) or isinstance(value, str) else np.nan
    except (ValueError, OverflowError):
        return np.nan
    return number if np.isfinite(number) else np.nan


def _box(value: Any) -> tuple[float, ...]:
    """Four finite numbers, else four NaN; of any size, since pycocotools takes any."""
    numbers = tuple(map(_number, value)) if isinstance(value, list) and len(value) == 4 else _NO_BOX
    return _NO_BOX if np.isnan(numbers).any() else numbers


def fits(identity: Identity | None) -> TypeGuard[int]:
    """Whether it is a number of 64 bits."""
    return isinstance(identity, int) and -(2**63) <= identity < 2**62


def index_annotations(
    entries: Sequence[Any],
    images: Sequence[ImageEntry],
    *,
    names: Mapping[Identity, str],
    labels: Mapping[str, int],
    file: str,
    problems: list[Problem],
    broken: Collection[Identity] = (),
) -> AnnotationIndex:
    """Sort annotations by image.

    Args:
        entries: the list "annotations" of the file.
        images: the images, in the order that positions refer to.
        names: of the categories, by id.
        labels: of the categories to keep, by name.
        file: for messages.
        problems: what is wrong is added to it; such annotations are not in the index. So is a
            warning of ids that are no numbers of 64 bits: such annotations are numbered anew.
        broken: ids of images that cannot be used, and whose annotations are passed over.
    """
    positions = {image.id: (position, image) for position, image in enumerate(images)}
    own = (identity_of(entry.get("id")) for entry in entries if isinstance(entry, Mapping))
    free = max((identity for identity in own if fits(identity)), default=0) + 1
    reader = _Reader(positions, names, labels, file, problems, frozenset(broken), free)
    for place, entry in enumerate(entries):
        reader.read(place, entry)
    if reader.numbered:
        message = (
            f"expected annotation ids of at most 64 bits, found {reader.numbered} others; they are "
            f"numbered from {free} on here"
        )
        problems.append(Problem("warning", file, message))
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


def nothing_found(index: AnnotationIndex, class_names: Sequence[str]) -> str:
    """The error of a file without a usable annotation, with the most frequent reason.

    Args:
        index: of the file.
        class_names: background first.
    """
    shown = ", ".join(class_names[1:6]) + (", ..." if len(class_names) > 6 else "")
    message = f"expected instances of {shown}, found none"
    reasons = Counter(each.reason for all_of in index.dropped.values() for each in all_of)
    if not reasons:
        return f"{message}; annotate some, or select other categories"
    reason, count = reasons.most_common(1)[0]
    boxes = reason == NO_SEGMENTATION
    way = "boxes teach no masks: export polygons or masks" if boxes else "mend or replace them"
    return f"{message}: {count} of {reasons.total()} are left out since {reason}; {way}"
