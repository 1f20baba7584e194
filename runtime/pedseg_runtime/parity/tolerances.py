"""The largest differences that count as agreement: stated once, per field and precision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tolerances:
    """The largest difference that still counts as agreement, per field.

    Attributes:
        scores: fraction.
        boxes: pixels of the original image, per coordinate.
        roi_masks: soft probability, per cell of the mask.
        masks: for masks of the whole image, pasted by the artifact: 1 - IoU, without the pixels
            that the other limits explain (see `overlap.py`).
        iou: how far two boxes' IoU may stand from the NMS threshold for NMS to decide either way.
    """

    scores: float
    boxes: float
    roi_masks: float
    masks: float
    iou: float


FP32 = Tolerances(scores=1e-4, boxes=0.05, roi_masks=1e-3, masks=0.01, iou=1e-3)
"""For float32 artifacts of trained models."""
