"""Whether a COCO file's boxes and masks agree: if most do not, the masks were written wrongly."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..check_report import Problem
from ..protocol import Extents, extent_of
from .segmentation import Segmentation, filling_runs

AGREEING = 0.5  # IoU of the file's box and the mask's
_EXPLAINED = 0.6  # IoU after undoing what may have gone wrong
_SCALED = 0.2  # of the logarithm of a scale, for another size
_TRIED = 100  # annotations for which explanations are tried
_FEWEST = 3  # of few annotations nothing is concluded

CORNERS = "as corners x1 y1 x2 y2"
_EXPLANATIONS = {
    "swapped": ("their x and y are exchanged", "exchange them"),
    "rows": (
        "their run lengths go along the rows, and COCO's go down the columns",
        "write them with pycocotools",
    ),
    "scaled": ("they were drawn at another size", "scale them to the image's size"),
}

Boxes = NDArray[np.float64]


@dataclass(slots=True)
class BoxAgreement:
    """Compares boxes with masks, image by image."""

    compared: int = 0
    differing: int = 0
    first: str = ""
    _tried: int = 0
    _explained: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        subject: str,
        size: tuple[int, int],
        found: Extents,
        file_boxes: Boxes,
        segmentations: list[Segmentation],
    ) -> None:
        """Take in one image: the masks' boxes, the file's (x y width height), and their masks."""
        masks = found.boxes + np.array([0, 0, 1, 1])
        corners = np.concatenate([file_boxes[:, :2], file_boxes[:, :2] + file_boxes[:, 2:]], axis=1)
        corners = corners.clip(0, [size[1], size[0]] * 2)
        sides = corners[:, 2:] - corners[:, :2]
        usable = (found.pixels > 0) & np.isfinite(corners).all(axis=1) & (sides >= 2).all(axis=1)
        overlaps = box_overlaps(masks, corners)
        self.compared += int(usable.sum())
        for place in np.flatnonzero(usable & (overlaps < AGREEING)):
            self.differing += 1
            self.first = self.first or f"annotation {found.ids[place]} of {subject}"
            if self._tried < _TRIED:
                self._tried += 1
                name = _explanation(
                    masks[place], file_boxes[place], corners[place], segmentations[place], size
                )
                self._explained[name] += 1

    def problem(self, file: str) -> Problem | None:
        """What the comparison shows of the whole file, if anything."""
        if not self.differing:
            return None
        message = (
            f"expected masks within their bbox, found {self.differing} of {self.compared} that "
            f"overlap it by less than a half, first {self.first}"
        )
        name, count = self._explained.most_common(1)[0]
        most = self.differing >= max(_FEWEST, self.compared / 2) and count >= self._tried / 2
        if most and name in _EXPLANATIONS:
            fault, repair = _EXPLANATIONS[name]
            return Problem("error", file, f"{message}; of most masks, {fault}: {repair}")
        if most and name == CORNERS:
            fault = f"{message}; they read {CORNERS}: write x y width height"
            return Problem("warning", file, fault)
        return Problem("warning", file, f"{message}; look at them with `pedseg-data show`")


def box_overlaps(first: Boxes | NDArray[np.int64], second: Boxes) -> Boxes:
    """IoU of boxes [N, 4] x1 y1 x2 y2 with as many others; 0 for empty ones and NaN."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    common = (high - low).clip(0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (first, second)]
    union = areas[0] + areas[1] - common
    overlaps: Boxes = np.divide(common, union, out=np.zeros(len(first)), where=union > 0)
    return overlaps


def _explanation(
    mask: NDArray[np.int64],
    file_box: Boxes,
    corners: Boxes,
    segmentation: Segmentation,
    size: tuple[int, int],
) -> str:
    """The name of what may have gone wrong with a mask, or ""."""
    own = mask.astype(np.float64)
    exchanged = np.concatenate([file_box[:2][::-1], (file_box[:2] + file_box[2:])[::-1]])
    scale = corners[2:] / np.maximum(own[2:], 1)
    guesses = {
        CORNERS: (own, file_box),
        "swapped": (own, exchanged.clip(0, [size[1], size[0]] * 2)),
        "rows": (_row_by_row(segmentation, size), corners),
    }
    if (np.abs(np.log(scale)) > _SCALED).all():
        guesses["scaled"] = (own * np.tile(scale, 2), corners)
    for name, (box, expected) in guesses.items():
        if float(box_overlaps(box[None], expected[None])[0]) >= _EXPLAINED:
            return name
    return ""


def _row_by_row(segmentation: Segmentation, size: tuple[int, int]) -> Boxes:
    """The box of run lengths that are read along rows; nothing for polygons."""
    if not isinstance(segmentation, dict):
        return np.zeros(4)
    runs = filling_runs(segmentation["counts"], size)
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size)
    box, count = extent_of(pixels)
    return np.array([*box[:2], box[2] + (count > 0), box[3] + (count > 0)], np.float64)
