"""One judge per stage: sees it on every image, then comes to a verdict."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.detections import MASK_THRESHOLD
from pedseg_runtime.masks import paste_masks
from pedseg_runtime.text import pluralize

from ..graph.taps import FEATURES, PIXELS, ROI_MASKS
from .borders import EXPECTED_BOXES
from .limits import StageLimits
from .passage import FINAL_BOXES, MASKS, Passage
from .report import FAILED, NOT_JUDGED, PASSED, Difference, StageResult

Values = dict[str, NDArray[Any]]
MOST_NOTES = 5


class Judge:
    """Collects the largest differences of one stage over the images.

    Attributes:
        name: of the stage.
        meaning: what is wrong where this stage is the first to fail.
        reads_size: whether the stage reads the size of the resized image, which reaches it from
            the artifact's own preprocessing.
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    reads_size: ClassVar[bool] = False

    def __init__(self, limits: StageLimits) -> None:
        self.limits = limits
        self.images = 0
        self.did_fail = False
        self.differences: dict[str, Difference] = {}
        self.notes: list[str] = []

    def look(self, image: str, eager: Passage, found: Values) -> None:
        """Compare what the stage made of eager's input with what eager made of it."""
        raise NotImplementedError

    def skip(self, image: str, reason: str) -> None:
        """Note why there is nothing to judge on this image."""
        self.notes.append(f"{image}: not judged: {reason}")

    def fail(self, image: str, reason: str) -> None:
        """Note what cannot be told by a number."""
        self.did_fail = True
        self.notes.append(f"{image}: {reason}")

    def note(self, quantity: str, value: float, unit: str, limit: float, image: str) -> None:
        """Keep a difference if it is the largest yet."""
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
        if self.did_fail or not all(difference.within for difference in differences):
            verdict = FAILED
        elif not self.images:
            verdict = NOT_JUDGED
            self.notes = self.notes or ["there is nothing to compare: no image has a detection"]
        notes = self.notes[:MOST_NOTES]
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


class Preprocessing(Judge):
    """The network's input: first its sizes, then its values."""

    name = "preprocessed image"
    meaning = "the resized size, padding, normalisation or order of colours is not torchvision's"

    def look(self, image: str, eager: Passage, found: Values) -> None:
        """Compare `stage.pixels`."""
        expected, pixels = eager.values[PIXELS][0], found[PIXELS][0]
        sizes = [(*eager.resized, *expected.shape[1:]), (*extent(pixels), *pixels.shape[1:])]
        apart = max(abs(first - second) for first, second in zip(*sizes, strict=True))
        self.note("size", apart, "pixels", 0, image)
        self.images += 1
        if apart:
            first, second = ("{}x{} in a frame of {}x{}".format(*size) for size in sizes)
            self.notes.append(f"{image}: expected {first}, found {second}")
        else:
            largest = largest_difference(pixels, expected)
            self.note("values", largest, "normalised", self.limits.pixels, image)


class Pyramid(Judge):
    """The trunk's feature pyramid, level by level."""

    name = "pyramid levels"
    meaning = "the trunk's weights or arithmetic are not the checkpoint's"

    def look(self, image: str, eager: Passage, found: Values) -> None:
        """Compare `stage.features.0` and on."""
        for name in found:
            if not name.startswith(FEATURES):
                continue
            level = name.removeprefix(f"{FEATURES}.")
            expected = eager.values[name][0]
            scale = float(np.abs(expected).max(initial=0.0)) or 1.0
            largest = largest_difference(found[name][0], expected) / scale
            self.note(f"level {level}", largest, "of largest", self.limits.features, image)
        self.images += 1


class SoftMasks(Judge):
    """The soft masks of eager's detections."""

    name = "RoI masks"
    meaning = "RoIAlign of the mask branch, the mask head or the choice of the class's mask differs"

    def look(self, image: str, eager: Passage, found: Values) -> None:
        """Compare `roi_masks`."""
        expected = eager.values[ROI_MASKS]
        if len(expected):
            largest = largest_difference(found[ROI_MASKS][: len(expected)], expected)
            self.note("masks", largest, "probability", self.limits.detections.roi_masks, image)
            self.images += 1


class Pasted(Judge):
    """Boxes and masks in pixels of the image.

    An artifact with soft masks leaves pasting to the runtime, which is then what is judged.
    """

    name = "pasted masks"
    meaning = "boxes are scaled back, or masks are pasted, in another way than torchvision's"
    reads_size = True

    def look(self, image: str, eager: Passage, found: Values) -> None:
        """Compare `boxes` and `masks`."""
        boxes = eager.values[FINAL_BOXES]
        count = len(boxes)
        expected = found.get(EXPECTED_BOXES, boxes)
        placed = found[FINAL_BOXES][: len(expected)]
        if len(expected):
            largest = largest_difference(placed, expected)
            self.note("boxes", largest, "pixels", self.limits.placed, image)
        if count == 0:
            return
        self.images += 1
        soft = eager.soft_masks
        if MASKS in found:
            masks = found[MASKS][:count].astype(np.bool_)
        else:
            masks = paste_masks(eager.values[ROI_MASKS], boxes, (soft.shape[1], soft.shape[2]))
        self._compare(image, masks, soft)

    def _compare(self, image: str, masks: NDArray[np.bool_], soft: NDArray[np.float32]) -> None:
        """Count pixels that differ, other than those where the last bit decides."""
        if masks.shape != soft.shape:
            self.fail(image, f"expected masks of {list(soft.shape)}, found {list(masks.shape)}")
            return
        differing = masks != (soft >= MASK_THRESHOLD)
        clear = np.abs(soft - np.float32(MASK_THRESHOLD)) > self.limits.at_threshold
        self.note("masks", float(np.count_nonzero(differing & clear)), "wrong pixels", 0, image)
        if differing.any() and not (differing & clear).any():
            count = int(np.count_nonzero(differing))
            verb = "differs" if count == 1 else "differ"
            self.notes.append(f"{image}: {pluralize(count, 'pixel')} at the threshold {verb}")


def extent(pixels: NDArray[np.float32]) -> tuple[int, int]:
    """Height and width of what is not zero in [3, h, w]: no pixel of an image becomes zero."""
    filled: NDArray[np.bool_] = np.any(pixels != 0, axis=0)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    return (int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (0, 0)


def largest_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest absolute difference; infinite where shapes differ or NaN is found."""
    if found.shape != expected.shape:
        return math.inf
    with np.errstate(invalid="ignore"):
        largest = np.abs(found.astype(np.float64) - expected).max(initial=0.0)
    return float(np.nan_to_num(largest, nan=math.inf))
