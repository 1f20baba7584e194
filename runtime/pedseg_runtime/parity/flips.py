"""Why only one side has a detection: the margins, and whether they make it a benign flip.

A detection can be missing on the other side for three legitimate reasons: its score fell below the
threshold, NMS suppressed it, or the cap on detections per image cut it off. Each reason is checked
against what the other side did keep. Where the culprit is itself a detection that only the other
side has, that one must be explained too, so a chain of flips is benign only if its start is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

import numpy as np

from ..detections import Detections
from .matching import MatchedImage, box_iou, is_finite, score_differences
from .report import Settings, Unmatched
from .sampling import explain_masks
from .tolerances import Tolerances

REFERENCE = "reference"
TIE_NOISE = 10
"""A tie's scores differ by less than this many times the largest difference of agreeing pairs."""
TIE_SHARE = 0.1
"""Most ties per agreeing pair."""
APART = 10
"""Boxes further apart than this many tolerances may be two proposals; noise is not so large."""

Settled = tuple[MatchedImage, list[Unmatched]]


def settle(
    images: Sequence[MatchedImage], tolerances: Tolerances, settings: Settings
) -> list[Settled]:
    """Tell benign flips from defects.

    Returns:
        Per image, the pairs that are to be compared and every detection that only one side has.
    """
    agreeing = [image.agreeing(tolerances) for image in images]
    gaps = (
        image.differences["scores"][chosen] for image, chosen in zip(images, agreeing, strict=True)
    )
    noise = max((float(values.max(initial=0.0)) for values in gaps), default=0.0)
    look = partial(_settle_image, tolerances=tolerances, settings=settings)
    settled = [look(image, tie_limit=min(TIE_NOISE * noise, tolerances.scores)) for image in images]
    ties = sum(
        item.kind == "nms tie" and item.side == REFERENCE
        for _, unmatched in settled
        for item in unmatched
    )
    if ties > TIE_SHARE * sum(int(chosen.sum()) for chosen in agreeing):
        return [look(image, tie_limit=0.0) for image in images]
    return settled


def _settle_image(
    image: MatchedImage, *, tolerances: Tolerances, settings: Settings, tie_limit: float
) -> Settled:
    """Explain what has no partner, on one image.

    Two boxes may overlap enough to be matched and yet be two proposals, of which each side kept
    another. A pair that looks so is taken apart if both of its members are explained; otherwise
    it stays a pair and shows as a difference beyond the limit.
    """
    # Two proposals have two soft masks. Of one soft mask every pixel can be explained, at any box.
    same_mask = tolerances.roi_masks if image.mask_field == "roi_masks" else 0.0
    apart = (image.differences["boxes"] > APART * tolerances.boxes) & (
        image.differences[image.mask_field] > same_mask
    )
    first, second = (
        sorted(set(range(len(side))) - set(image.pairs[~apart, column].tolist()))
        for column, side in enumerate((image.reference, image.candidate))
    )
    look = partial(
        explain, image=image.name, tolerances=tolerances, settings=settings, tie_limit=tie_limit
    )
    left = {i: look(i, image.reference, image.candidate, second, side=REFERENCE) for i in first}
    right = {i: look(i, image.candidate, image.reference, first, side="candidate") for i in second}
    jumps = _jumps(image, tolerances, settings)
    kept = ~apart
    for position in np.flatnonzero(apart):
        a, b = image.pairs[position].tolist()
        if not (left[a].benign and right[b].benign):
            kept[position] = True
            del left[a], right[b]
    compared = image.without_masks(list(jumps)).keep(kept)
    return compared, [*left.values(), *right.values(), *jumps.values()]


def _jumps(image: MatchedImage, tolerances: Tolerances, settings: Settings) -> dict[int, Unmatched]:
    """Pairs that agree but for their masks, where RoIAlign jumps, by position."""
    differences = image.differences
    masks_alone = (
        (differences["scores"] <= tolerances.scores)
        & (differences["boxes"] <= tolerances.boxes)
        & (differences[image.mask_field] > getattr(tolerances, image.mask_field))
    )
    found = {}
    reference = image.reference
    for position in np.flatnonzero(masks_alone).tolist():
        index, partner = image.pairs[position].tolist()
        boxes = reference.boxes[index], image.candidate.boxes[partner]
        margin = explain_masks(*boxes, reference.image_size, settings)
        if margin is not None:
            found[position] = Unmatched(
                image=image.name,
                side=REFERENCE,
                index=index,
                label=_label_name(reference, index),
                score=float(reference.scores[index]),
                box=_finite_box(reference, index),
                kind="sampling edge",
                benign=True,
                score_margin=None,
                nms_margin=None,
                rank_margin=None,
                edge_margin=margin,
            )
    return found


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
    kind, benign = "unexplained", False
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
        label=_label_name(own, index),
        score=score if np.isfinite(score) else None,
        box=_finite_box(own, index),
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


def _label_name(detections: Detections, index: int) -> str:
    label = int(detections.labels[index])
    known = 0 <= label < len(detections.class_names)
    return detections.class_names[label] if known else f"label {label}"


def _finite_box(detections: Detections, index: int) -> tuple[float, float, float, float] | None:
    box = detections.boxes[index]
    if not np.isfinite(box).all():
        return None
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
