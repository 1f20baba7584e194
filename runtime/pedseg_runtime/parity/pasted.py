"""The overlap of pasted masks over all pairs, and what explains where it is low."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..detections import ROI_MASK_SIZE
from .matching import MatchedImage
from .overlap import paste_shift_margin, pasted, pasted_iou
from .report import LowPaste, PastedMasks
from .tolerances import Tolerances

LOW_IOU = 0.99


def compare_pasted(images: Sequence[MatchedImage], tolerances: Tolerances) -> PastedMasks:
    """Paste both masks of every pair and compare the pixels."""
    entries = [
        _compare_pair(image, position, tolerances)
        for image in images
        for position in np.flatnonzero(~np.isnan(image.differences[image.mask_field])).tolist()
    ]
    ious = [iou for iou, _ in entries]
    return PastedMasks(
        count=len(ious),
        min_iou=min(ious, default=1.0),
        mean_iou=sum(ious) / len(ious) if ious else 1.0,
        low=tuple(low for _, low in entries if low is not None),
    )


def _compare_pair(
    image: MatchedImage, position: int, tolerances: Tolerances
) -> tuple[float, LowPaste | None]:
    """IoU of both pasted masks of a pair and, if it is low, what explains it."""
    first, second = image.pairs[position].tolist()
    reference, candidate = image.reference, image.candidate
    iou = pasted_iou(pasted(reference, first), pasted(candidate, second))
    if iou >= LOW_IOU:
        return iou, None
    soft = reference.roi_masks if reference.roi_masks is not None else candidate.roi_masks
    mask_size = ROI_MASK_SIZE if soft is None else soft.shape[-1]
    margin = paste_shift_margin(reference.boxes[first], candidate.boxes[second], mask_size)
    if image.mask_field == "masks":
        explained = bool(image.differences["masks"][position] <= tolerances.masks)
    else:
        explained = margin is not None and margin <= tolerances.boxes
    kind = "soft values at the threshold" if margin is None else "one-pixel paste shift"
    if image.mask_field == "masks" and not explained:
        kind = "unexplained"
    return iou, LowPaste(image.name, first, iou, kind, explained, margin)
