"""Compare two lists of detections, image by image, and come to one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..detections import Detections
from ..errors import InputError
from .margins import explain
from .matching import Matching, box_differences, match, score_differences
from .pasted import compare_pasted
from .report import FP32, Counts, ParityReport, Settings, Tolerances, Unmatched
from .verdict import (
    UNITS,
    ImageResult,
    doubt_frequent_ties,
    statistics,
    summarise_pasted,
    verdict,
    within,
)


def compare(
    reference: Sequence[Detections],
    candidate: Sequence[Detections],
    *,
    tolerances: Tolerances = FP32,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
    names: Sequence[str] | None = None,
) -> ParityReport:
    """Compare two sides' detections of the same images.

    Args:
        reference: the truth, one entry per image.
        candidate: what is to be judged, same images, same order.
        tolerances: limits per field.
        score_threshold: both sides kept detections with a higher score than this.
        nms_threshold: both sides suppressed boxes with a higher IoU than this.
        detections_per_image: both sides kept at most so many.
        names: image names for the report; `image 0`, `image 1`, ... by default.

    Returns:
        A report that is true if no defect was found and something was compared.

    Raises:
        InputError: the two sides are not about the same images, classes and mask sizes.
    """
    titles = _checked_names(reference, candidate, names)
    settings = Settings(score_threshold, nms_threshold, detections_per_image)
    results = [
        _compare_image(first, second, name, tolerances, settings)
        for first, second, name in zip(reference, candidate, titles, strict=True)
    ]
    fields = tuple(statistics(name, results, getattr(tolerances, name)) for name in UNITS)
    unmatched = doubt_frequent_ties(results, tolerances)
    counts = Counts(
        images=len(results),
        empty_images=sum(
            not len(a) and not len(b) for a, b in zip(reference, candidate, strict=True)
        ),
        reference=sum(map(len, reference)),
        candidate=sum(map(len, candidate)),
        matched=fields[0].count,
        benign_flips=sum(item.benign for item in unmatched),
        defects=sum(not item.benign for item in unmatched)
        + sum(int((~within(result, tolerances)).sum()) for result in results),
    )
    passed, reason = verdict(counts, fields, unmatched)
    pasted = summarise_pasted(results)
    return ParityReport(
        passed, reason, counts, fields, pasted, unmatched, tolerances=tolerances, settings=settings
    )


def _checked_names(
    reference: Sequence[Detections], candidate: Sequence[Detections], names: Sequence[str] | None
) -> list[str]:
    """The image names, after checking that both sides speak of the same images."""
    titles = list(names) if names is not None else [f"image {i}" for i in range(len(reference))]
    lengths = {
        "reference": len(reference),
        "candidate": len(candidate),
        "names": len(titles),
    }
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{count} {what}" for what, count in lengths.items())
        raise InputError(
            f"parity: expected as many candidates and names as references, found {found}"
        )
    for first, second, name in zip(reference, candidate, titles, strict=True):
        for field in ("image_size", "class_names"):
            expected, found = getattr(first, field), getattr(second, field)
            if tuple(expected) != tuple(found):
                raise InputError(
                    f"parity of {name}: expected the reference's {field} {expected}, "
                    f"found {found}; run both sides on the same image with the same classes"
                )
        shapes = first.roi_masks.shape[1:], second.roi_masks.shape[1:]
        if len(first) and len(second) and shapes[0] != shapes[1]:
            raise InputError(
                f"parity of {name}: expected RoI masks of {shapes[0]}, found {shapes[1]}; "
                "compare soft masks of one size"
            )
    return titles


def _compare_image(
    reference: Detections,
    candidate: Detections,
    name: str,
    tolerances: Tolerances,
    settings: Settings,
) -> ImageResult:
    matching = match(reference, candidate, tolerances)
    pairs, unmatched = _settle(reference, candidate, matching, name, tolerances, settings)
    left = np.array([pair[0] for pair in pairs], np.intp)
    right = np.array([pair[1] for pair in pairs], np.intp)
    masks = np.abs(
        reference.roi_masks[left].astype(np.float64) - candidate.roi_masks[right].astype(np.float64)
    )
    differences = {
        "scores": score_differences(reference.scores[left], candidate.scores[right]),
        "boxes": box_differences(reference.boxes[left], candidate.boxes[right]),
        "roi_masks": masks.max(axis=(1, 2), initial=0.0),
    }
    pasted = [
        compare_pasted(reference, candidate, pair, image=name, tolerances=tolerances)
        for pair in pairs
    ]
    return ImageResult(name, differences, pasted, unmatched)


def _settle(
    reference: Detections,
    candidate: Detections,
    matching: Matching,
    name: str,
    tolerances: Tolerances,
    settings: Settings,
) -> tuple[list[tuple[int, int]], list[Unmatched]]:
    """Tell pairs of one object from two flips that happen to overlap; explain what is left.

    Two boxes may overlap enough to be matched and yet be two proposals, of which each side kept
    another. A pair with different boxes is therefore taken apart if both of its members are
    explained; otherwise it stays a pair and shows as a difference beyond the limit.
    """
    shifts = [box_differences(reference.boxes[a], candidate.boxes[b]) for a, b in matching.pairs]
    doubtful = [
        pair
        for pair, shift in zip(matching.pairs, shifts, strict=True)
        if not shift <= tolerances.boxes
    ]
    alone = (
        {*matching.reference, *(a for a, _ in doubtful)},
        {*matching.candidate, *(b for _, b in doubtful)},
    )
    look = partial(explain, image=name, tolerances=tolerances, settings=settings)
    first = {i: look(i, reference, candidate, alone[1], side="reference") for i in sorted(alone[0])}
    second = {
        i: look(i, candidate, reference, alone[0], side="candidate") for i in sorted(alone[1])
    }
    rejoined = {(a, b) for a, b in doubtful if not (first[a].benign and second[b].benign)}
    for a, b in rejoined:
        del first[a], second[b]
    pairs = [pair for pair in matching.pairs if pair not in doubtful or pair in rejoined]
    return pairs, [*first.values(), *second.values()]
