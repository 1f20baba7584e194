"""One check per stage, and the largest differences from eager that count as agreement.

Each stage is fed with eager's input, so a limit is for the rounding of one stage alone. A check
sees its stage on every image, then comes to a verdict.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.detections import MASK_THRESHOLD
from pedseg_runtime.masks import paste_masks
from pedseg_runtime.parity import TOLERANCES, Tolerances
from pedseg_runtime.text import pluralize

from ..graph.intermediates import FEATURES, PIXELS, ROI_MASKS
from .eager_trace import FINAL_BOXES, MASKS, EagerTrace
from .report import (
    FAILED,
    NOT_JUDGED,
    PASSED,
    Difference,
    StageResult,
)
from .stage_io import EXPECTED_BOXES


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


Values = dict[str, NDArray[Any]]
MAX_NOTES = 5


class StageCheck:
    """Collects the largest differences of one stage over the images.

    Attributes:
        name: of the stage.
        meaning: the likely error if this stage is the first to fail.
        reads_size: whether the stage reads the size of the resized image from the artifact's own
            preprocessing.
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    reads_size: ClassVar[bool] = False

    def __init__(self, limits: StageLimits) -> None:
        self.limits = limits
        self.images = 0
        self.has_failed = False
        self.differences: dict[str, Difference] = {}
        self.notes: list[str] = []

    def inspect(self, image: str, eager: EagerTrace, found: Values) -> None:
        """Compare the outputs of the stage and of eager for the same input."""
        raise NotImplementedError

    def skip(self, image: str, reason: str) -> None:
        """Note why this image is not judged."""
        self.notes.append(f"{image}: not judged: {reason}")

    def fail(self, image: str, reason: str) -> None:
        """Note a failure that is no difference in numbers."""
        self.has_failed = True
        self.notes.append(f"{image}: {reason}")

    def record(self, quantity: str, value: float, unit: str, limit: float, image: str) -> None:
        """Keep a difference if it is the largest so far."""
        before = self.differences.get(quantity)
        if before is not None and (before.largest is None or value <= before.largest):
            return
        finite = float(value) if math.isfinite(value) else None
        within = bool(value <= limit)  # NaN is not
        self.differences[quantity] = Difference(quantity, unit, finite, limit, within, image)

    def result(self) -> StageResult:
        """The verdict over all images."""
        differences = tuple(self.differences.values())
        verdict = PASSED
        if self.has_failed or not all(difference.within for difference in differences):
            verdict = FAILED
        elif not self.images:
            verdict = NOT_JUDGED
            self.notes = self.notes or ["there is nothing to compare: no image has a detection"]
        notes = self.notes[:MAX_NOTES]
        if len(self.notes) > len(notes):
            notes.append(f"and {len(self.notes) - len(notes)} more")
        return StageResult(
            name=self.name,
            meaning=self.meaning,
            verdict=verdict,
            images=self.images,
            differences=differences,
            notes=tuple(notes),
        )


class PreprocessingCheck(StageCheck):
    """The network's input: first its sizes, then its values."""

    name = "preprocessed image"
    meaning = "the resized size, padding, normalisation or order of colours is not torchvision's"

    def inspect(self, image: str, eager: EagerTrace, found: Values) -> None:
        """Compare `stage.pixels`."""
        expected, pixels = eager.values[PIXELS][0], found[PIXELS][0]
        sizes = [(*eager.resized, *expected.shape[1:]), (*extent(pixels), *pixels.shape[1:])]
        largest_offset = max(abs(first - second) for first, second in zip(*sizes, strict=True))
        self.record("size", largest_offset, "pixels", 0, image)
        self.images += 1
        if largest_offset:
            first, second = ("{}x{} in a frame of {}x{}".format(*size) for size in sizes)
            self.notes.append(f"{image}: expected {first}, found {second}")
        else:
            largest = largest_difference(pixels, expected)
            self.record("values", largest, "normalised", self.limits.pixels, image)


class PyramidCheck(StageCheck):
    """The backbone's feature pyramid, level by level."""

    name = "pyramid levels"
    meaning = "the backbone's weights or arithmetic are not the checkpoint's"

    def inspect(self, image: str, eager: EagerTrace, found: Values) -> None:
        """Compare `stage.features.0` and on."""
        for name in found:
            if not name.startswith(FEATURES):
                continue
            level = name.removeprefix(f"{FEATURES}.")
            expected = eager.values[name][0]
            scale = float(np.abs(expected).max(initial=0.0)) or 1.0
            largest = largest_difference(found[name][0], expected) / scale
            self.record(f"level {level}", largest, "of largest", self.limits.features, image)
        self.images += 1


class SoftMaskCheck(StageCheck):
    """The soft masks of eager's detections."""

    name = "RoI masks"
    meaning = (
        "RoIAlign of the mask branch, the mask head or the selection of the class's mask differs"
    )

    def inspect(self, image: str, eager: EagerTrace, found: Values) -> None:
        """Compare `roi_masks`."""
        expected = eager.values[ROI_MASKS]
        if len(expected):
            largest = largest_difference(found[ROI_MASKS][: len(expected)], expected)
            self.record("masks", largest, "probability", self.limits.detections.roi_masks, image)
            self.images += 1


class PastedMaskCheck(StageCheck):
    """Boxes and masks in pixels of the image.

    The runtime pastes the masks of an artifact with soft masks, and is then checked instead.
    """

    name = "pasted masks"
    meaning = "boxes are scaled back or masks are pasted differently from torchvision"
    reads_size = True

    def inspect(self, image: str, eager: EagerTrace, found: Values) -> None:
        """Compare `boxes` and `masks`."""
        boxes = eager.values[FINAL_BOXES]
        count = len(boxes)
        expected = found.get(EXPECTED_BOXES, boxes)
        pixel_boxes = found[FINAL_BOXES][: len(expected)]
        if len(expected):
            largest = largest_difference(pixel_boxes, expected)
            self.record("boxes", largest, "pixels", self.limits.pixel_boxes, image)
        if count == 0:
            return
        self.images += 1
        soft_masks = eager.soft_masks
        if MASKS in found:
            masks = found[MASKS][:count].astype(np.bool_)
        else:
            masks = paste_masks(
                eager.values[ROI_MASKS], boxes, (soft_masks.shape[1], soft_masks.shape[2])
            )
        self._compare_masks(image, masks, soft_masks)

    def _compare_masks(
        self, image: str, masks: NDArray[np.bool_], soft_masks: NDArray[np.float32]
    ) -> None:
        """Count the pixels that differ, except those at the threshold."""
        if masks.shape != soft_masks.shape:
            self.fail(
                image, f"expected masks of {list(soft_masks.shape)}, found {list(masks.shape)}"
            )
            return
        differing = masks != (soft_masks >= MASK_THRESHOLD)
        clear = np.abs(soft_masks - np.float32(MASK_THRESHOLD)) > self.limits.at_threshold
        self.record("masks", float(np.count_nonzero(differing & clear)), "wrong pixels", 0, image)
        if differing.any() and not (differing & clear).any():
            count = int(np.count_nonzero(differing))
            verb = "differs" if count == 1 else "differ"
            self.notes.append(f"{image}: {pluralize(count, 'pixel')} at the threshold {verb}")


def extent(pixels: NDArray[np.float32]) -> tuple[int, int]:
    """Height and width of the image in a padded input [3, h, w]; only the padding is zero."""
    filled: NDArray[np.bool_] = np.any(pixels != 0, axis=0)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    return (int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (0, 0)


def largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest absolute difference; infinite if shapes differ or a value is NaN."""
    if found.shape != expected.shape:
        return math.inf
    with np.errstate(invalid="ignore"):
        largest = np.abs(found.astype(np.float64) - expected).max(initial=0.0)
    return float(np.nan_to_num(largest, nan=math.inf))
