"""Which differences of matched images are benign flips, and which are defects.

Every detection that only one side has is explained by its margins, and masks that differ at equal
boxes by RoIAlign's jumps (both in `flip_margins`). What remains is a defect, but for one kind of
flip that the detections cannot show: another region proposal made it past the RPN. The RPN keeps
its best proposals that NMS leaves, and where two of them are all but equal, rounding decides. So
where a few differences are left, the reference is run again with noise of the size of rounding on
its RPN: if the candidate then agrees with it in everything, either answer is the reference's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ..detections import Detections
from .flip_margins import explain_detection, finite_box, label_name, roi_align_margin
from .matching import MatchedImage
from .report import UNEXPLAINED, Settings, Unmatched
from .tolerances import Tolerances

REFERENCE = "reference"
TIE_NOISE = 10
"""A tie's scores differ by less than this many times the largest difference of agreeing pairs."""
MAX_TIE_SHARE = 0.1
"""Most ties per agreeing pair."""
PROPOSAL_DISTANCE = 10
"""Boxes further apart than this many tolerances may be two proposals; noise is not so large."""
MAX_DEFECT_SHARE = 0.01
"""Most defects per agreeing pair, and two at least, that rounding in the RPN may be blamed for."""

ClassifiedImage = tuple[MatchedImage, list[Unmatched]]
Rerun = tuple[float, Detections]
"""The noise's standard deviation, in logits and box deltas of the RPN, and what was found then."""


def analyse_flips(
    images: Sequence[MatchedImage],
    tolerances: Tolerances,
    settings: Settings,
    reruns: Callable[[int], Iterable[Rerun]] | None = None,
) -> list[ClassifiedImage]:
    """Tell benign flips from defects.

    Args:
        images: matched.
        tolerances: limits per field.
        settings: the thresholds that both sides applied.
        reruns: of the reference on the image at that position, by rising noise. They are asked for
            only where a few defects are left, and only until one agrees with the candidate.

    Returns:
        Per image, the pairs that are to be compared and every detection that only one side has.
    """
    agreeing = [image.agreeing(tolerances) for image in images]
    gaps = (
        image.differences["scores"][chosen] for image, chosen in zip(images, agreeing, strict=True)
    )
    noise = max((float(values.max(initial=0.0)) for values in gaps), default=0.0)
    tie_limit = min(TIE_NOISE * noise, tolerances.scores)
    classify = partial(
        _classify_image, tolerances=tolerances, settings=settings, tie_limit=tie_limit
    )
    classified = [classify(image) for image in images]
    ties = sum(
        item.kind == "nms tie" and item.side == REFERENCE
        for _, unmatched in classified
        for item in unmatched
    )
    fine = sum(int(chosen.sum()) for chosen in agreeing)
    if ties > MAX_TIE_SHARE * fine:
        classify = partial(classify, tie_limit=0.0)
        classified = [classify(image) for image in images]
    defects = [_count_defects(*item, tolerances) for item in classified]
    if reruns is None or sum(defects) > max(2, MAX_DEFECT_SHARE * fine):
        return classified
    return [
        _by_reruns(image, before, reruns(position), classify, tolerances)
        if defects[position]
        else before
        for position, (image, before) in enumerate(zip(images, classified, strict=True))
    ]


def _by_reruns(
    image: MatchedImage,
    before: ClassifiedImage,
    reruns: Iterable[Rerun],
    classify: Callable[..., ClassifiedImage],
    tolerances: Tolerances,
) -> ClassifiedImage:
    """What was left unexplained as proposal flips, if the candidate agrees with a rerun.

    It has to agree with all of it, by the same rules and without a defect: a detection that is
    another one, or whose values are wrong, is in no rerun. A pair at one box whose scores or masks
    differ is no flip; where there is one, nothing is run again.
    """
    if _count_defects(*classify(image, noise=0.0), tolerances):
        return before
    for noise, again in reruns:
        other = MatchedImage.of(again, image.candidate, image.name, tolerances, image.mask_field)
        if not _count_defects(*classify(other), tolerances):
            return classify(image, noise=noise)
    return before


def _count_defects(
    image: MatchedImage, unmatched: Sequence[Unmatched], tolerances: Tolerances
) -> int:
    beyond = int((~image.agreeing(tolerances)).sum())
    return beyond + sum(not item.benign for item in unmatched)


def _classify_image(
    image: MatchedImage,
    *,
    tolerances: Tolerances,
    settings: Settings,
    tie_limit: float,
    noise: float | None = None,
) -> ClassifiedImage:
    """Explain what has no partner, on one image; with `noise`, the rest as flips of the RPN.

    Two boxes may overlap enough to be matched and yet be two proposals, of which each side kept
    another. A pair that looks so is taken apart if both of its members are explained; otherwise
    it stays a pair and shows as a difference beyond the limit.
    """
    # Two proposals have two soft masks. Of one soft mask every pixel can be explained, at any box.
    same_mask = tolerances.roi_masks if image.mask_field == "roi_masks" else 0.0
    apart = (image.differences["boxes"] > PROPOSAL_DISTANCE * tolerances.boxes) & (
        image.differences[image.mask_field] > same_mask
    )
    first, second = (
        sorted(set(range(len(side))) - set(image.pairs[~apart, column].tolist()))
        for column, side in enumerate((image.reference, image.candidate))
    )
    explain = partial(
        explain_detection,
        image=image.name,
        tolerances=tolerances,
        settings=settings,
        tie_limit=tie_limit,
    )
    left = {i: explain(i, image.reference, image.candidate, second, side=REFERENCE) for i in first}
    right = {
        i: explain(i, image.candidate, image.reference, first, side="candidate") for i in second
    }
    if noise is not None:
        left, right = _as_proposal_flips(left, noise), _as_proposal_flips(right, noise)
    jumps = _jumps(image, tolerances, settings)
    kept = ~apart
    for position in np.flatnonzero(apart):
        a, b = image.pairs[position].tolist()
        if not (left[a].benign and right[b].benign):
            kept[position] = True
            del left[a], right[b]
    compared = image.without_masks(list(jumps)).keep(kept)
    return compared, [*left.values(), *right.values(), *jumps.values()]


def _as_proposal_flips(items: dict[int, Unmatched], noise: float) -> dict[int, Unmatched]:
    return {
        index: replace(item, kind="proposal flip", benign=True, noise_margin=noise)
        if item.kind == UNEXPLAINED
        else item
        for index, item in items.items()
    }


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
        margin = roi_align_margin(*boxes, reference.image_size, settings)
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
