"""The largest differences between a stage and eager that count as agreement.

Each stage is fed with eager's input, so that a limit covers the rounding of one stage only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from pedseg_runtime.parity import TOLERANCES, Tolerances


@dataclass(frozen=True, slots=True)
class StageLimits:
    """The largest difference that counts as agreement, per stage.

    Attributes:
        pixels: of the network's input, in units of the normalisation (a grey level is about 0.017).
        features: of a pyramid level, as a fraction of its largest value.
        proposals: their scores as a relative difference (most are tiny), their boxes in pixels
            of the resized image.
        detections: scores as a fraction, boxes in pixels of the resized image, soft masks as
            probability.
        unexplained: share of proposals, and of detections, without a partner within these limits
            and without a margin that explains it.
        pixel_boxes: of the boxes in pixels of the image.
        at_threshold: distance from 0.5 of a pasted soft value that may fall on either side.
    """

    pixels: float
    features: float
    proposals: Tolerances
    detections: Tolerances
    unexplained: float
    pixel_boxes: float = 0.01
    at_threshold: float = 1e-5


def _limits(
    precision: str, *, pixels: float, features: float, proposal_scores: float, unexplained: float
) -> StageLimits:
    detections = TOLERANCES[precision]
    return StageLimits(
        pixels=pixels,
        features=features,
        proposals=dataclasses.replace(detections, scores=proposal_scores),
        detections=detections,
        unexplained=unexplained,
    )


# Preprocessing, and the steps after the boxes, stay float32 in every precision. Measured on eight
# photographs with a trained maskrcnn_mobilenet_v2_fpn (features; proposals' scores, unexplained):
#   fp32   2.5e-6   5e-5   0
#   bf16   0.047    0.32   0.007
#   int8   0.058    0.76   0.006
# A deep network of random weights reached 5e-5 in fp32.
LIMITS: Mapping[str, StageLimits] = {
    "fp32": _limits("fp32", pixels=5e-3, features=5e-4, proposal_scores=1e-3, unexplained=0.0),
    "fp16": _limits("fp16", pixels=5e-3, features=0.03, proposal_scores=0.2, unexplained=0.05),
    "bf16": _limits("bf16", pixels=5e-3, features=0.2, proposal_scores=1.0, unexplained=0.1),
    "int8": _limits("int8", pixels=5e-3, features=0.25, proposal_scores=2.0, unexplained=0.1),
}
"""By the manifest's precision. For a lower one the verdict is only informative: AP decides."""
