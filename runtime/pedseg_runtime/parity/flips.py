"""Why only one side has a detection: the margins, and whether they make it a benign flip.

A detection can be missing on the other side for three legitimate reasons: its score fell below the
threshold, NMS suppressed it, or the cap on detections per image cut it off. Each reason is checked
against what the other side did keep. Where the culprit is itself a detection that only the other
side has, that one must be explained too, so a chain of flips is benign only if its start is.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..detections import Detections
from .matching import box_iou, is_finite, score_differences
from .report import UNEXPLAINED, Settings, Unmatched
from .tolerances import Tolerances


def explain(
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
