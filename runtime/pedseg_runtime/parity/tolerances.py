"""The largest differences that count as agreement: stated once, per field and precision."""

from __future__ import annotations

from collections.abc import Mapping
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

# What a lower precision costs is told by AP on the user's images, never by these: one proposal
# that takes another's place moves a score by 0.4 and loses nothing. They tell an artifact that
# still computes what it did at its export, on this device too, from one that does not: wrong
# weights, kernels that overflow or saturate, swapped channels.
#
# Measured against eager, on photographs, with a trained maskrcnn_mobilenet_v2_fpn (scores, boxes,
# soft masks; the largest differences, proposals that took another's place left out):
#   trunk and heads in float16    0.003   0.34 px   0.02
#   trunk and heads in bfloat16   0.010   0.75 px   0.06
# The limits are about four times that. A trunk in int8 moved half of the boxes by 2.6 px and a
# tenth by 10 px: no useful limit holds against eager, so such an artifact is compared with its own
# answers at export, from which other kernels differ by single steps of rounding.
FP16 = Tolerances(scores=0.012, boxes=1.5, roi_masks=0.08, masks=0.05, iou=0.02)
"""For artifacts whose networks run in float16."""
BF16 = Tolerances(scores=0.05, boxes=3.0, roi_masks=0.25, masks=0.1, iou=0.05)
"""For artifacts whose networks run in bfloat16, which has eight bits where float16 has eleven."""
INT8 = Tolerances(scores=0.1, boxes=5.0, roi_masks=0.35, masks=0.1, iou=0.08)
"""For artifacts whose trunk is quantised to eight bits."""

TOLERANCES: Mapping[str, Tolerances] = {"fp32": FP32, "fp16": FP16, "bf16": BF16, "int8": INT8}
"""By the manifest's precision: for self-tests, and for reports beside the verdict of AP."""
