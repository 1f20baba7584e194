"""Which differences of matched images are benign flips, and which are defects.

Every detection that only one side has is explained by its margins (`flips`), masks that differ at
equal boxes by RoIAlign's jumps (`sampling`), and a few detections that are left by rounding in the
RPN (`reruns`). What remains is a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from .flips import explain, finite_box, label_name
from .matching import MatchedImage
from .report import Settings, Unmatched
from .reruns import Rerun, explain_by_reruns
from .sampling import explain_masks
from .tolerances import Tolerances

REFERENCE = "reference"
TIE_NOISE = 10
"""A tie's scores differ by less than this many times the largest difference of agreeing pairs."""
TIE_SHARE = 0.1
"""Most ties per agreeing pair."""
APART = 10
"""Boxes further apart than this many tolerances may be two proposals; noise is not so large."""
RARE = 0.01
"""Most defects per agreeing pair, and two at least, that rounding in the RPN may be blamed for."""

Settled = tuple[MatchedImage, list[Unmatched]]


def settle(
    images: Sequence[MatchedImage],
    tolerances: Tolerances,
    settings: Settings,
    reruns: Callable[[int], Iterable[Rerun]] | None = None,
) -> list[Settled]:
    """Tell benign flips from defects.

    Args:
        images: matched.
        tolerances: limits per field.
        settings: the thresholds that both sides applied.
        reruns: of the reference on the image at that position, see `explain_by_reruns`. They are
            asked for only where a few defects are left.

    Returns:
        Per image, the pairs that are to be compared and every detection that only one side has.
    """
    agreeing = [image.agreeing(tolerances) for image in images]
    gaps = (
        image.differences["scores"][chosen] for image, chosen in zip(images, agreeing, strict=True)
    )
    noise = max((float(values.max(initial=0.0)) for values in gaps), default=0.0)
    look = partial(_settle_image, tolerances=tolerances, settings=settings)
    tie_limit = min(TIE_NOISE * noise, tolerances.scores)
    settled = [look(image, tie_limit=tie_limit) for image in images]
    ties = sum(
        item.kind == "nms tie" and item.side == REFERENCE
        for _, unmatched in settled
        for item in unmatched
    )
    fine = sum(int(chosen.sum()) for chosen in agreeing)
    if ties > TIE_SHARE * fine:
        tie_limit = 0.0
        settled = [look(image, tie_limit=tie_limit) for image in images]
    defects = [_count_defects(*item, tolerances) for item in settled]
    if reruns is None or sum(defects) > max(2, RARE * fine):
        return settled
    return [
        look(image, tie_limit=tie_limit, reruns=reruns(position)) if defects[position] else before
        for position, (image, before) in enumerate(zip(images, settled, strict=True))
    ]


def _count_defects(
    image: MatchedImage, unmatched: Sequence[Unmatched], tolerances: Tolerances
) -> int:
    beyond = int((~image.agreeing(tolerances)).sum())
    return beyond + sum(not item.benign for item in unmatched)


def _settle_image(
    image: MatchedImage,
    *,
    tolerances: Tolerances,
    settings: Settings,
    tie_limit: float,
    reruns: Iterable[Rerun] = (),
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
    left, right = explain_by_reruns(
        image, left, right, reruns, tolerances=tolerances, apart=APART * tolerances.boxes
    )
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
                label=label_name(reference, index),
                score=float(reference.scores[index]),
                box=finite_box(reference, index),
                kind="sampling edge",
                benign=True,
                score_margin=None,
                nms_margin=None,
                rank_margin=None,
                edge_margin=margin,
            )
    return found
