"""How far pasted masks overlap, and whether a low overlap is torchvision's one-pixel step.

Pasting truncates the expanded box to integers. A coordinate that stands closer to an integer than
the box tolerance may fall on either side of it, which moves the paste by one pixel; on a small
mask that costs several percent of IoU although nothing is wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..masks import PastedMask, paste_mask
from .report import LowPaste, Tolerances

LOW_IOU = 0.99
MASK_THRESHOLD = 0.5


def pasted_iou(first: PastedMask, second: PastedMask) -> float:
    """IoU of two pasted masks of the same image in 0..1; 1 if both are empty."""
    top, left = max(first.top, second.top), max(first.left, second.left)
    bottom = min(first.top + first.bits.shape[0], second.top + second.bits.shape[0])
    right = min(first.left + first.bits.shape[1], second.left + second.bits.shape[1])
    overlap = 0
    if top < bottom and left < right:
        windows = (
            mask.bits[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]
            for mask in (first, second)
        )
        overlap = int(np.logical_and(*windows).sum())
    union = int(first.bits.sum()) + int(second.bits.sum()) - overlap
    return overlap / union if union else 1.0


def compare_pasted(
    reference: Detections,
    candidate: Detections,
    pair: tuple[int, int],
    *,
    image: str,
    tolerances: Tolerances,
) -> tuple[float, LowPaste | None]:
    """Paste both masks of a matched pair; return their IoU and, if it is low, what explains it."""
    first, second = (
        paste_mask(side.roi_masks[index], side.boxes[index], side.image_size, MASK_THRESHOLD)
        for side, index in zip((reference, candidate), pair, strict=True)
    )
    iou = pasted_iou(first, second)
    if iou >= LOW_IOU:
        return iou, None
    margin = paste_shift_margin(
        reference.boxes[pair[0]], candidate.boxes[pair[1]], reference.roi_masks.shape[-1]
    )
    return iou, LowPaste(
        image=image,
        index=pair[0],
        iou=iou,
        kind="soft values at the threshold" if margin is None else "one-pixel paste shift",
        benign=margin is not None and margin <= tolerances.boxes,
        margin=margin,
    )


def paste_shift_margin(
    first: NDArray[np.floating], second: NDArray[np.floating], mask_size: int
) -> float | None:
    """How close to an integer the expanded boxes stand where they truncate to different ones.

    Args:
        first: [4], x1 y1 x2 y2 in pixels.
        second: [4], likewise.
        mask_size: cells along a side of the soft mask.

    Returns:
        The largest distance in pixels of a differing coordinate of `first` to an integer; None if
        both boxes truncate to the same integers.
    """
    here, there = _expanded(first, mask_size), _expanded(second, mask_size)
    differing = np.trunc(here) != np.trunc(there)
    if not differing.any():
        return None
    return float(np.abs(here - np.rint(here))[differing].max())


def _expanded(box: NDArray[np.floating], mask_size: int) -> NDArray[np.float32]:
    """The box [4] grown by the one cell of padding around its mask, in torchvision's float32."""
    low, high = box[:2].astype(np.float32), box[2:].astype(np.float32)
    centre, half = (low + high) * np.float32(0.5), (high - low) * np.float32(0.5)
    half *= np.float32((mask_size + 2) / mask_size)
    return np.concatenate([centre - half, centre + half])
