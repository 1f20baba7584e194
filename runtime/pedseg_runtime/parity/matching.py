"""Pair the detections of both sides of one image, and measure how far each pair is apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from .overlap import mask_losses
from .tolerances import Tolerances

MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class MatchedImage:
    """Both sides' detections of one image, their pairs, and the differences of each pair.

    Attributes:
        name: name of the image.
        reference: the truth.
        candidate: what is judged.
        pairs: intp [P, 2], indices into `reference` and `candidate`.
        differences: field name -> float64 [P], the largest absolute difference of each pair;
            the fields are scores, boxes and `mask_field`. NaN where the field is not compared.
    """

    name: str
    reference: Detections
    candidate: Detections
    pairs: NDArray[np.intp]
    differences: dict[str, NDArray[np.float64]]

    @classmethod
    def of(
        cls,
        reference: Detections,
        candidate: Detections,
        name: str,
        tolerances: Tolerances,
        mask_field: str = "roi_masks",
    ) -> MatchedImage:
        """Match two sides of one image and measure every pair.

        `mask_field` says how to measure masks: `roi_masks` compares the soft masks of both sides,
        `masks` the pixels that they become.
        """
        pairs = match(reference, candidate, tolerances)
        first, second = pairs.T
        differences = {
            "scores": score_differences(reference.scores[first], candidate.scores[second]),
            "boxes": box_differences(reference.boxes[first], candidate.boxes[second]),
        }
        if mask_field == "masks":
            losses = mask_losses(reference, candidate, pairs, tolerances)
        else:
            losses = _soft_differences(reference, candidate, pairs)
        differences[mask_field] = losses
        return cls(name, reference, candidate, pairs, differences)

    @property
    def mask_field(self) -> str:
        """How the masks were measured: `roi_masks` or `masks`."""
        return "masks" if "masks" in self.differences else "roi_masks"

    def agreeing(self, tolerances: Tolerances) -> NDArray[np.bool_]:
        """Bool [P]: which pairs are within all limits."""
        within = np.ones(len(self.pairs), np.bool_)
        for name, values in self.differences.items():
            within &= ~(values > getattr(tolerances, name))
        return within

    def without_masks(self, positions: Sequence[int]) -> MatchedImage:
        """The same image with the masks of some pairs left out of the comparison."""
        masks = self.differences[self.mask_field].copy()
        masks[list(positions)] = np.nan
        return replace(self, differences={**self.differences, self.mask_field: masks})

    def keep(self, chosen: NDArray[np.bool_]) -> MatchedImage:
        """The same image with only the chosen pairs (bool [P]) counted as pairs."""
        differences = {name: values[chosen] for name, values in self.differences.items()}
        return replace(self, pairs=self.pairs[chosen], differences=differences)


def box_iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of every box with every box.

    Args:
        first: [A, 4], x1 y1 x2 y2.
        second: [B, 4], likewise.

    Returns:
        [A, B] in 0..1; 0 where both boxes have no area, NaN where a coordinate is not finite.
    """
    a = first.astype(np.float64)[:, None]
    b = second.astype(np.float64)[None, :]
    with np.errstate(invalid="ignore", over="ignore"):
        sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
        overlap = np.maximum(sides, 0).prod(axis=-1)
        union = _area(a) + _area(b) - overlap
        return np.asarray(overlap / np.where(union == 0, 1.0, union))


def is_finite(detections: Detections) -> NDArray[np.bool_]:
    """Bool [D]: which detections hold neither NaN nor infinity in any field."""
    finite = np.isfinite(detections.scores) & np.isfinite(detections.boxes).all(axis=1)
    if detections.roi_masks is not None:
        finite &= np.isfinite(detections.roi_masks).all(axis=(1, 2))
    return np.asarray(finite)


def match(reference: Detections, candidate: Detections, tolerances: Tolerances) -> NDArray[np.intp]:
    """Pair the detections of one image within each label, by their boxes and never by index.

    Pairs that agree in box and score come first, so that near-duplicates cannot take each other's
    partner; then the highest IoU; then the closest score. A pair needs an IoU of `MATCH_IOU` or
    boxes equal within the tolerance, which tiny boxes can be at a lower IoU.

    Returns:
        intp [P, 2], indices into reference and candidate, ascending by the first.
    """
    iou = box_iou(reference.boxes, candidate.boxes)
    shift = box_differences(reference.boxes[:, None], candidate.boxes[None, :])
    gap = score_differences(reference.scores[:, None], candidate.scores[None, :])
    same_box = shift <= tolerances.boxes
    allowed = (
        (reference.labels[:, None] == candidate.labels[None, :])
        & (is_finite(reference)[:, None] & is_finite(candidate)[None, :])
        & (same_box | (iou >= MATCH_IOU))
    )
    rows, columns = np.nonzero(allowed)
    agreeing = (same_box & (gap <= tolerances.scores))[rows, columns]
    order = np.lexsort((gap[rows, columns], -iou[rows, columns], ~agreeing))
    taken: tuple[set[int], set[int]] = set(), set()
    pairs = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken[0] and column not in taken[1]:
            pairs.append((row, column))
            taken[0].add(row)
            taken[1].add(column)
    return np.array(sorted(pairs), np.intp).reshape(-1, 2)


def box_differences(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Largest absolute coordinate difference in pixels; [..., 4] and [..., 4] to [...]."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(first.astype(np.float64) - second.astype(np.float64))
    return np.asarray(difference.max(axis=-1))


def score_differences(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Absolute difference of scores, element by element."""
    with np.errstate(invalid="ignore"):
        return np.abs(first.astype(np.float64) - second.astype(np.float64))


def _soft_differences(
    reference: Detections, candidate: Detections, pairs: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Largest absolute difference of the soft masks of each pair, [P]."""
    assert reference.roi_masks is not None
    assert candidate.roi_masks is not None
    first = reference.roi_masks[pairs[:, 0]].astype(np.float64)
    second = candidate.roi_masks[pairs[:, 1]].astype(np.float64)
    return np.asarray(np.abs(first - second).max(axis=(1, 2), initial=0.0))


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(axis=-1))
