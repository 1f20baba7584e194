"""The margins that explain a difference: of single detections, and of masks where RoIAlign jumps.

A detection can be missing on the other side for three legitimate reasons: its score fell below the
threshold, NMS suppressed it, or the cap on detections per image cut it off. Each reason is checked
against what the other side did keep. Where the suppressor is itself a detection that only the other
side has, that one must be explained too, so a chain of flips is benign only if its start is.

The soft mask of a sliver along the far edge of the image can differ as well. torchvision's RoIAlign
widens a box to one cell of the feature map at least, so a narrower box at the right or lower edge
is sampled beyond the map, where features count as zero. Everywhere else the pooled features follow
the box smoothly; where a sampling point lies on that edge, boxes that differ by rounding alone pool
different features, and the whole soft mask is another one.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from .matching import box_iou, is_finite, score_differences
from .report import UNEXPLAINED, Settings, Unmatched
from .tolerances import Tolerances

CELL = 4  # resized pixels: the finest level's, which pools every box that is narrower than that
POINTS = 28  # sampling points along a side: 14 bins of 2
MULTIPLE = 32  # resized images are padded to a multiple of this
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of a coordinate, relative


def explain_detection(
    index: int,
    own: Detections,
    other: Detections,
    other_unmatched: Collection[int],
    *,
    side: str,
    image: str,
    tolerances: Tolerances,
    settings: Settings,
    tie_limit: float,
) -> Unmatched:
    """Class one unmatched detection.

    A flip at a threshold is benign up to the tolerance itself: had the other side computed the
    same quantity within the tolerance and decided differently, the margin could not be larger.

    Args:
        index: position of the detection in `own`.
        own: the detections of the side that has it.
        other: the detections of the other side.
        other_unmatched: the indices of `other` that found no partner in `own`.
        side: `reference` or `candidate`, whichever `own` is.
        image: name of the image.
        tolerances: limits per field.
        settings: the thresholds that both sides applied.
        tie_limit: scores closer than this are a tie; 0 for no ties.
    """
    score = float(own.scores[index])
    finite = bool(is_finite(own)[index])
    score_margin = abs(score - settings.score_threshold) if finite else None
    nms_margin, nms_kind = _nms(index, own, other, other_unmatched, tolerances, settings, tie_limit)
    rank_margin = _rank(score, other, settings) if finite else None
    kind, benign = UNEXPLAINED, False
    if not finite:
        kind = "not finite"
    elif score_margin is not None and score_margin <= tolerances.scores:
        kind, benign = "score threshold", True
    elif nms_kind is not None:
        kind, benign = nms_kind, True
    elif rank_margin is not None and rank_margin <= tolerances.scores:
        kind, benign = "detection cap", True
    return Unmatched(
        image=image,
        side=side,
        index=index,
        label=label_name(own, index),
        score=score if np.isfinite(score) else None,
        box=finite_box(own, index),
        kind=kind,
        benign=benign,
        score_margin=score_margin,
        nms_margin=nms_margin,
        rank_margin=rank_margin,
    )


def _nms(
    index: int,
    own: Detections,
    other: Detections,
    other_unmatched: Collection[int],
    tolerances: Tolerances,
    settings: Settings,
    tie_limit: float,
) -> tuple[float | None, str | None]:
    """The NMS margin, and which NMS flip explains the detection, if any does.

    Only a detection of the same label and no lower score can suppress. If both sides kept the
    suppressor, the IoU must stand at the threshold. If only the other side has it, any IoU above
    the threshold explains: a tie if the scores are close enough, else a consequence of the
    suppressor's own flip.
    """
    iou = box_iou(own.boxes[index : index + 1], other.boxes)[0]
    gap = score_differences(own.scores[index], other.scores)
    rivals = (other.labels == own.labels[index]) & is_finite(other)
    higher = other.scores > own.scores[index]
    margins = np.abs(iou - settings.nms_threshold)[rivals & (higher | (gap <= tolerances.scores))]
    margin = float(margins.min()) if len(margins) and np.isfinite(margins).all() else None
    if margin is not None and margin <= tolerances.iou:
        return margin, "nms threshold"
    alone = np.zeros(len(other), np.bool_)
    alone[list(other_unmatched)] = True
    rivals &= alone & (iou > settings.nms_threshold)
    if (rivals & (gap < tie_limit)).any():
        return margin, "nms tie"
    return margin, "nms suppression" if (rivals & higher).any() else None


def _rank(score: float, other: Detections, settings: Settings) -> float | None:
    """Score above the lowest kept score of `other` if that side is at the cap, else None."""
    if len(other) < settings.detections_per_image or not np.isfinite(other.scores).all():
        return None
    return score - float(other.scores.min()) if len(other) else None


def label_name(detections: Detections, index: int) -> str:
    """The class name of a detection, or its number where the class is unknown."""
    label = int(detections.labels[index])
    known = 0 <= label < len(detections.class_names)
    return detections.class_names[label] if known else f"label {label}"


def finite_box(detections: Detections, index: int) -> tuple[float, float, float, float] | None:
    """The box of a detection, x1 y1 x2 y2; None if a coordinate is not finite."""
    box = detections.boxes[index]
    if not np.isfinite(box).all():
        return None
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2


def roi_align_margin(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    image_size: tuple[int, int],
    settings: Settings,
) -> float | None:
    """Why two boxes that agree have different soft masks: the margin, if RoIAlign jumps there.

    Args:
        first: [4], x1 y1 x2 y2 in pixels of the original image.
        second: the other side's, likewise.
        image_size: (H, W) of the original image.
        settings: with the sizes that both sides resized to.

    Returns:
        Distance in pixels of a sampling point from the edge of the feature map, if it is no larger
        than the difference of the boxes where they start and the rounding of float32; None if no
        point is so close, or the sizes are not known.
    """
    if settings.min_size is None or settings.max_size is None:
        return None
    a, b = first.astype(np.float64), second.astype(np.float64)
    scale = min(settings.min_size / min(image_size), settings.max_size / max(image_size))
    margins = []
    for axis, size in ((0, image_size[1]), (1, image_size[0])):
        noise = abs(a[axis] - b[axis]) + ROUNDING * max(abs(a[axis]), abs(b[axis]))
        nearest = min(_edge_margin(box[axis::2], size, scale) for box in (a, b))
        if nearest <= noise:
            margins.append(nearest)
    return min(margins, default=None)


def _edge_margin(side: NDArray[np.float64], size: int, scale: float) -> float:
    """Distance of the nearest sampling point from the far edge; infinite if nothing is widened.

    Args:
        side: [2], where a box starts and ends along an axis, in pixels of the original image.
        size: of the original image along that axis.
        scale: by which the image is resized, before its sides are cut to whole pixels.
    """
    resized = int(size * scale)
    cells_per_pixel = resized / size / CELL
    start, stop = side * cells_per_pixel
    if stop - start >= 1:
        return float("inf")
    edge = -(-resized // MULTIPLE) * MULTIPLE / CELL
    points = start + (np.arange(POINTS) + 0.5) / POINTS
    return float(np.abs(points - edge).min() / cells_per_pixel)
