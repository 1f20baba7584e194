"""Run lengths: from strangers, made sure of before pycocotools reads them; and back into a mask.

pycocotools believes what it is given: run lengths that do not fill the frame make it read memory
that is none of theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from pedseg_runtime.errors import InputError

from ..data.coco.segmentation import Unsound, run_lengths


def sound_rle(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """The compressed run lengths of a mask.

    Args:
        segmentation: `{"size": [H, W], "counts": str or list of pixels}`.
        size: (height, width) of the picture.

    Raises:
        InputError: anything else, another size, or runs that do not fill the frame.
    """
    height, width = size
    if not isinstance(segmentation, dict) or {"size", "counts"} - segmentation.keys():
        raise InputError(
            "expected a segmentation as run lengths {size, counts}, found "
            f"{type(segmentation).__name__}; write masks as COCO results do"
        )
    if segmentation["size"] != [height, width]:
        raise InputError(
            f"expected run lengths for the picture's [height, width] [{height}, {width}], found "
            f"size {segmentation['size']}; were the results made from other pictures?"
        )
    counts = segmentation["counts"]
    try:
        runs = run_lengths(counts).tolist() if isinstance(counts, str) else list(counts)
        fills = all(type(run) is int and run >= 0 for run in runs) and sum(runs) == height * width
    except (TypeError, Unsound):
        fills = False
    if not fills:
        raise InputError(
            f"expected run lengths that add up to {height} x {width} pixels, found others; the "
            "file is damaged"
        )
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts}
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def decode(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """The mask, bool [H, W], of sound compressed run lengths, whose counts are bytes or text."""
    height, width = rle["size"]
    counts = rle["counts"]
    runs = run_lengths(counts.decode("ascii") if isinstance(counts, bytes) else counts)
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)  # background first, down the columns
    return bits.reshape(width, height).T
