"""What every layout of a dataset offers, and what the rest of the code may ask of one.

Needs no torch, so that `pedseg-data` starts quickly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Target = dict[str, Any]


class Dropped(NamedTuple):
    """An annotation that is in no target.

    Attributes:
        instance: its id in the mask file, or the id of its annotation.
        reason: why it cannot be used.
    """

    instance: int
    reason: str


class ImageAnnotations(NamedTuple):
    """What a COCO file says of one image, to be measured with by pycocotools' rules.

    Attributes:
        id: of the image in the file, a number or text; pycocotools sorts images by it.
        size: height and width in pixels.
        annotations: in the order of the file, with `category_id` (the label), `bbox`, `area`,
            `iscrowd` and `segmentation` (run lengths). An annotation without a segmentation that
            could be decoded has an empty one and `box_only` True: it has boxes to be measured with,
            but no mask.
    """

    id: int | str
    size: tuple[int, int]
    annotations: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """What is annotated on one image.

    Attributes:
        masks: bool [N, H, W], each with at least one pixel.
        boxes: int64 [N, 4], x1 y1 x2 y2: the first and the last pixel of every mask, both part of
            it.
        labels: int64 [N], positions in the dataset's `class_names`, never 0.
        areas: float64 [N], square pixels; what COCO calls an instance's area.
        crowd: bool [N], regions of many instances annotated as one.
        ids: int64 [N], ids in the mask file or of the annotations.
        edge: the `box_edge` of the dataset, see `LabelledImages`.
    """

    masks: NDArray[np.bool_]
    boxes: NDArray[np.int64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    ids: NDArray[np.int64]
    edge: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: NDArray[Any] | slice | list[int]) -> Instances:
        """The instances that a slice, an index list or a boolean mask [N] selects."""
        names = ("masks", "boxes", "labels", "areas", "crowd", "ids")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    @property
    def has_extent(self) -> NDArray[np.bool_]:
        """Whether the box has a width and a height, bool [N]; others cannot be trained on."""
        return _have_extent(self.boxes, self.edge)


@dataclass(frozen=True, slots=True, eq=False)
class Extents:
    """Where instances are, without their masks: a large image with many of them fits into memory.

    Attributes:
        ids: int64 [N], ids in the mask file or of the annotations.
        labels: int64 [N].
        crowd: bool [N].
        boxes: int64 [N, 4] as in `Instances`; 0 0 0 0 for an empty mask.
        pixels: int64 [N], of the masks.
        edge: the `box_edge` of the dataset, see `LabelledImages`.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    boxes: NDArray[np.int64]
    pixels: NDArray[np.int64]
    edge: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_extent(self) -> NDArray[np.bool_]:
        """Whether there is a pixel, and a box with a width and a height, bool [N]."""
        return _have_extent(self.boxes, self.edge) & (self.pixels > 0)

    @property
    def learnable(self) -> NDArray[np.bool_]:
        """What is trained on, bool [N]: what has extent and is no crowd region."""
        return self.has_extent & ~self.crowd


def _have_extent(boxes: NDArray[np.int64], edge: int) -> NDArray[np.bool_]:
    return np.asarray((boxes[:, 2:] + edge > boxes[:, :2]).all(axis=1))


def extent_of(mask: NDArray[np.bool_]) -> tuple[tuple[int, int, int, int], int]:
    """The box of a mask [H, W] as in `Instances`, and its pixels; zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0), 0
    box = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
    return box, int(np.count_nonzero(mask))


def tight_boxes(masks: NDArray[np.bool_ | np.uint8]) -> NDArray[np.int64]:
    """The first and last pixel of every mask, the rule of torchvision's tutorial.

    Args:
        masks: [N, H, W], 0 or 1.

    Returns:
        Boxes int64 [N, 4], x1 y1 x2 y2; 0 0 0 0 for an empty mask.
    """
    if not masks.size:
        return np.zeros((len(masks), 4), np.int64)
    (x1, x2), (y1, y2) = (_first_and_last(masks.max(axis=axis)) for axis in (1, 2))
    return np.stack([x1, y1, x2, y2], axis=1)


def _first_and_last(
    lines: NDArray[np.bool_ | np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the first and last 1 in every row of [N, L]; 0 and 0 where there is none."""
    last = lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
    return lines.argmax(axis=1), last * lines.max(axis=1)


class LabelledImages(Protocol):
    """Images and their instances, whatever the files look like; positions count from 0.

    Attributes:
        box_edge: pixels from a mask's last pixel to the right and bottom edge of its box in
            training: 0 in torchvision's tutorial, whose boxes end on the last pixel; 1 in COCO,
            whose boxes contain it.
    """

    box_edge: int

    @property
    def names(self) -> tuple[str, ...]:
        """One name per image, each once, in the order that positions refer to."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label, background first."""

    def __len__(self) -> int:
        """How many images there are."""

    def path(self, index: int, /) -> Path:
        """The file of an image."""

    def image(self, index: int, /) -> NDArray[np.uint8]:
        """An image as uint8 [H, W, 3] RGB."""

    def sample(self, index: int, /) -> tuple[NDArray[np.uint8], Instances]:
        """An image, uint8 [H, W, 3] RGB, and all its instances, crowd regions among them.

        Raises:
            DatasetError: a damaged file, or an image of another size than its annotation.
        """

    def annotations(self, index: int, /) -> ImageAnnotations | None:
        """The annotations of an image as its COCO file has them; None in other layouts."""

    def dropped(self, index: int, /) -> tuple[Dropped, ...]:
        """The annotations that training does not use, and why."""

    def digest(self) -> dict[str, str]:
        """SHA-256 of what was annotated and photographed, 64 hex digits, by part."""


class SegmentationDataset(LabelledImages, Protocol):
    """Labelled images to train on and to measure with; `open_dataset` makes one of any layout."""

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, Target]:
        """Image and target to train on, through the transform; without crowd regions."""

    def truth(self, index: int, /) -> Target:
        """The target to measure with: no transform, crowd regions included with `iscrowd` 1."""

    def masks(self, index: int, /) -> NDArray[np.bool_]:
        """Every instance of an image, bool [N, H, W], without crowd regions."""

    def labels(self, index: int, /) -> NDArray[np.int64]:
        """The label of each of `masks`, int64 [N]."""
