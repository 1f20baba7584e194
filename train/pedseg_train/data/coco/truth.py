"""What pycocotools makes of a COCO file's annotations, to measure with the same.

Training needs masks that are sound; measuring has to count everything that COCO's own code counts:
repeated annotations, thin ones, polygons outside the frame, with the file's own boxes and areas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from .annotations import AnnotationIndex
from .segmentation import FARTHEST, Segmentation, decode, encode, filling_runs

Rle = dict[str, Any]


def as_given(index: AnnotationIndex, row: int, size: tuple[int, int]) -> dict[str, Any] | None:
    """An annotation as pycocotools would read it; None without a box and a mask.

    Box and area are the file's own; where it names none, they are the mask's, whose box contains
    its last pixels.

    Args:
        index: of the file.
        row: of the annotation in it.
        size: (height, width) of the image.

    Raises:
        Unsound: run lengths that do not fill the frame.
    """
    rle = _read(index.segmentation(row), size, usable=bool(index.usable[row]))
    box, area = index.boxes[row].tolist(), float(index.areas[row])
    if np.isnan(box).any():
        if rle is None:
            return None
        box = coco_mask.toBbox(rle).tolist()
    if np.isnan(area):
        area = float(box[2] * box[3] if rle is None else coco_mask.area(rle))
    given = {
        "category_id": int(index.labels[row]),
        "bbox": box,
        "area": area,
        "iscrowd": int(index.crowd[row]),
        "segmentation": encode(np.zeros(size, np.bool_)) if rle is None else rle,
    }
    return given | {"box_only": True} if rle is None else given


def _read(segmentation: Segmentation, size: tuple[int, int], *, usable: bool) -> Rle | None:
    """Run lengths by pycocotools' own reading, else by ours; None if there is nothing to decode."""
    height, width = size
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        runs = filling_runs(segmentation["counts"], size)
        if isinstance(segmentation["counts"], list):
            whole = {"size": [height, width], "counts": runs.tolist()}
            return _plain(coco_mask.frPyObjects(whole, height, width))
        return {"size": [height, width], "counts": segmentation["counts"]}
    if _is_safe(segmentation):
        try:
            return _plain(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
        except Exception:  # pycocotools has none of its own
            pass
    return encode(decode(segmentation, size)) if usable else None


def _is_safe(segmentation: Segmentation) -> bool:
    """Whether these are flat rings of numbers that pycocotools' C code can take."""
    if not isinstance(segmentation, list) or not segmentation:
        return False
    for ring in segmentation:
        try:
            numbers = np.asarray(ring, np.float64)
        except (TypeError, ValueError, OverflowError):
            return False
        if numbers.ndim != 1 or numbers.size < 2 or not (np.abs(numbers) <= FARTHEST).all():
            return False
    return True


def _plain(rle: Rle) -> Rle:
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
