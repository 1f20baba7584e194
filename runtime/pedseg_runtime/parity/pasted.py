"""How far pasted masks overlap, and whether a low overlap is torchvision's one-pixel step.

Pasting truncates the expanded box to integers. A coordinate that stands closer to an integer than
the box tolerance may fall on either side of it, which moves the paste by one pixel; on a small
mask that costs several percent of IoU although nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..masks import PastedMask, paste_mask
from .matching import MatchedImage
from .report import LowPaste, PastedMasks, Tolerances

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


def compare_pasted(images: Sequence[MatchedImage], tolerances: Tolerances) -> PastedMasks:
    """Paste both masks of every pair and compare the pixels."""
    entries = [
        _compare_pair(image, first, second, tolerances)
        for image in images
        for first, second in image.pairs.tolist()
    ]
    ious = [iou for iou, _ in entries]
    return PastedMasks(
        count=len(ious),
        min_iou=min(ious, default=1.0),
        mean_iou=sum(ious) / len(ious) if ious else 1.0,
        low=tuple(low for _, low in entries if low is not None),
    )


def _compare_pair(
    image: MatchedImage, first: int, second: int, tolerances: Tolerances
) -> tuple[float, LowPaste | None]:
    """IoU of both pasted masks of a pair and, if it is low, what explains it."""
    masks = image.reference.roi_masks[first], image.candidate.roi_masks[second]
    boxes = image.reference.boxes[first], image.candidate.boxes[second]
    size = image.reference.image_size
    iou = pasted_iou(
        *(paste_mask(m, b, size, MASK_THRESHOLD) for m, b in zip(masks, boxes, strict=True))
    )
    if iou >= LOW_IOU:
        return iou, None
    margin = paste_shift_margin(*boxes, masks[0].shape[-1])
    low = LowPaste(
        image=image.name,
        index=first,
        iou=iou,
        kind="soft values at the threshold" if margin is None else "one-pixel paste shift",
        benign=margin is not None and margin <= tolerances.boxes,
        margin=margin,
    )
    return iou, low


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
