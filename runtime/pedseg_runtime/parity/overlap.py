"""How far masks of the whole image overlap, and how much of their difference must be explained.

Two steps of pasting turn a difference within the limits into pixels that differ, though nothing is
wrong:

- The threshold. A pixel whose soft value stands closer to 0.5 than the limit for soft masks may
  fall on either side of it.
- The place. torchvision truncates the expanded box to integers. A coordinate that stands closer to
  an integer than the limit for boxes may fall on either side of it, which moves the paste by one
  pixel; on a small mask that costs several percent of IoU.

Where one side still has its soft masks, both can be undone: pasted at the other side's box, a pixel
is wrong only if no soft value within the limit would give it. So a box that is wrong shows in the
boxes alone, as it does where soft masks are compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..detections import MASK_THRESHOLD, ROI_MASK_SIZE, Detections
from ..masks import PastedMask, paste_mask
from .tolerances import Tolerances


def shared_pixels(first: PastedMask, second: PastedMask) -> int:
    """How many pixels belong to both masks of the same image."""
    top, left = max(first.top, second.top), max(first.left, second.left)
    bottom = min(first.top + first.bits.shape[0], second.top + second.bits.shape[0])
    right = min(first.left + first.bits.shape[1], second.left + second.bits.shape[1])
    if top >= bottom or left >= right:
        return 0
    here, there = (
        mask.bits[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]
        for mask in (first, second)
    )
    return int(np.count_nonzero(here & there))


def pasted_iou(first: PastedMask, second: PastedMask) -> float:
    """IoU of two pasted masks of the same image in 0..1; 1 if both are empty."""
    overlap = shared_pixels(first, second)
    union = _area(first) + _area(second) - overlap
    return overlap / union if union else 1.0


def mask_losses(
    reference: Detections,
    candidate: Detections,
    pairs: NDArray[np.intp],
    tolerances: Tolerances,
) -> NDArray[np.float64]:
    """The share of pixels that differ and that neither step of pasting explains, for each pair.

    Args:
        reference: the truth, with masks of either form.
        candidate: what is judged, likewise.
        pairs: intp [P, 2], indices into both.
        tolerances: limits per field.

    Returns:
        float64 [P], in 0..1: 1 - IoU where nothing is explained.
    """
    losses = []
    for first, second in pairs.tolist():
        sides = reference[first : first + 1], candidate[second : second + 1]
        if sides[0].roi_masks is not None:
            losses.append(_soft_loss(*sides, tolerances))
        elif sides[1].roi_masks is not None:
            losses.append(_soft_loss(*sides[::-1], tolerances))
        else:
            losses.append(_dense_loss(*sides, tolerances))
    return np.array(losses, np.float64)


def paste_detection(detections: Detections, index: int) -> PastedMask:
    """The pasted mask of one detection."""
    return detections[index : index + 1].crops()[0]


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


def _soft_loss(soft: Detections, other: Detections, tolerances: Tolerances) -> float:
    """The share of pixels of `other` that no soft value within its limit would give.

    Each side holds one detection; `soft` has its soft mask.
    """
    assert soft.roi_masks is not None  # the caller chose the side that has it
    (found,) = other.crops()
    sure, likely, possible = (
        paste_mask(soft.roi_masks[0], other.boxes[0], soft.image_size, MASK_THRESHOLD + shift)
        for shift in (tolerances.roi_masks, 0.0, -tolerances.roi_masks)
    )
    missing = _area(sure) - shared_pixels(sure, found)
    added = _area(found) - shared_pixels(found, possible)
    union = _area(likely) + _area(found) - shared_pixels(likely, found)
    return (missing + added) / union if union else 0.0


def _dense_loss(first: Detections, second: Detections, tolerances: Tolerances) -> float:
    """1 - IoU of two detections without soft masks, laid on each other by their boxes.

    There is nothing to paste again, so a box within its limit that truncates to other integers has
    to explain the pixels alone.
    """
    boxes = first.boxes[0], second.boxes[0]
    shift = boxes[1] - boxes[0]
    is_same = np.abs(shift).max() <= tolerances.boxes
    if is_same and paste_shift_margin(*boxes, ROI_MASK_SIZE) is not None:
        return 0.0
    (here,), (there,) = first.crops(), second.crops()
    right, down = (round(float(pixels)) for pixels in shift[:2])
    laid = PastedMask(there.top - down, there.left - right, there.bits)
    return 1.0 - pasted_iou(here, laid)


def _area(mask: PastedMask) -> int:
    return int(np.count_nonzero(mask.bits))


def _expanded(box: NDArray[np.floating], mask_size: int) -> NDArray[np.float32]:
    """The box [4] grown by the one cell of padding around its mask, in torchvision's float32."""
    low, high = box[:2].astype(np.float32), box[2:].astype(np.float32)
    centre, half = (low + high) * np.float32(0.5), (high - low) * np.float32(0.5)
    half *= np.float32((mask_size + 2) / mask_size)
    return np.concatenate([centre - half, centre + half])
