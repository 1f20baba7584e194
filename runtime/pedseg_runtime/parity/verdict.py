"""Sum up what was found image by image: counts, statistics and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .matching import MatchedImage
from .report import Counts, FieldStatistics, PastedMasks, Unmatched, counted
from .tolerances import Tolerances

UNITS = {
    "scores": "fraction",
    "boxes": "pixels",
    "roi_masks": "probability",
    "masks": "IoU loss",
}


def count(
    images: Sequence[MatchedImage],
    unmatched: Sequence[Unmatched],
    pasted: PastedMasks,
    tolerances: Tolerances,
) -> Counts:
    """How much was compared, and how much of it was wrong.

    Where masks were compared as pixels, a pair that differs but is explained is a flip as well.
    """
    by_pixels = any(image.mask_field == "masks" for image in images)
    flipped = [low for low in pasted.low if by_pixels and low.benign]
    return Counts(
        images=len(images),
        empty_images=sum(not len(i.reference) and not len(i.candidate) for i in images),
        reference=sum(len(image.reference) for image in images),
        candidate=sum(len(image.candidate) for image in images),
        matched=sum(len(image.pairs) for image in images),
        benign_flips=sum(item.benign for item in unmatched)
        + sum(1 - low.iou > tolerances.masks for low in flipped),
        defects=sum(not item.benign for item in unmatched)
        + sum(int((~image.agreeing(tolerances)).sum()) for image in images),
    )


def statistics(name: str, images: Sequence[MatchedImage], limit: float) -> FieldStatistics:
    """The statistics of one field over all images."""
    values = np.concatenate([np.zeros(0), *(image.differences[name] for image in images)])
    compared = ~np.isnan(values)
    names = np.array([image.name for image in images for _ in image.pairs], object)[compared]
    values = values[compared]
    largest = float(values.max(initial=0.0))
    return FieldStatistics(
        name=name,
        unit=UNITS[name],
        max=largest,
        mean=float(values.mean()) if len(values) else 0.0,
        p99=float(np.percentile(values, 99)) if len(values) else 0.0,
        limit=limit,
        count=len(values),
        within=largest <= limit,
        worst=names[int(values.argmax())] if len(names) else None,
    )


def verdict(
    counts: Counts, fields: Sequence[FieldStatistics], unmatched: Sequence[Unmatched]
) -> tuple[bool, str]:
    """Whether the comparison passed, and one clause that says why."""
    problems = list(_problems(counts, fields, unmatched))
    if problems:
        return False, "; ".join(problems)
    flips = f", {counted(counts.benign_flips, 'benign flip')}" if counts.benign_flips else ""
    return True, f"{counted(counts.matched, 'pair')} within all limits{flips}"


def _problems(
    counts: Counts, fields: Sequence[FieldStatistics], unmatched: Sequence[Unmatched]
) -> Iterator[str]:
    for field in fields:
        if not field.within:
            yield (
                f"{field.name} differ by up to {field.max:.3g} {field.unit} "
                f"(limit {field.limit:g}, worst in {field.worst})"
            )
    defects = [item for item in unmatched if not item.benign]
    if defects:
        first = defects[0]
        yield (
            f"{counted(len(defects), 'unmatched detection')} without a benign cause "
            f"(first: {first.side}'s {first.label} in {first.image}, {first.kind})"
        )
    elif not counts.matched:
        # Also where all that is left are flips: not one box, score or mask was compared.
        yield "nothing was compared"
