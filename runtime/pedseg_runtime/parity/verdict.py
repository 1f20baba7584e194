"""Sum up what was found image by image: statistics, doubtful ties and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .report import Counts, FieldStatistics, LowPaste, PastedMasks, Tolerances, Unmatched, counted

UNITS = {"scores": "fraction", "boxes": "pixels", "roi_masks": "probability"}
TIE_SHARE = 0.1
"""Most ties per agreeing pair. By outputs alone a tie cannot be told from a displaced box with the
right score, so ties are believed only while they are rare."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What one image pair contributes.

    Attributes:
        name: name of the image.
        differences: field name -> float64 [pairs], largest absolute difference of each pair.
        pasted: per pair, IoU of the pasted masks and its explanation if it is low.
        unmatched: what only one side has.
    """

    name: str
    differences: dict[str, NDArray[np.float64]]
    pasted: list[tuple[float, LowPaste | None]]
    unmatched: list[Unmatched]


def within(result: ImageResult, tolerances: Tolerances) -> NDArray[np.bool_]:
    """Bool [pairs]: which pairs of an image are within all limits."""
    agreeing = np.ones(len(result.pasted), np.bool_)
    for name, values in result.differences.items():
        agreeing &= values <= getattr(tolerances, name)
    return agreeing


def statistics(name: str, results: Sequence[ImageResult], limit: float) -> FieldStatistics:
    """The statistics of one field over all images."""
    values = np.concatenate([np.zeros(0), *(result.differences[name] for result in results)])
    images = [result.name for result in results for _ in result.differences[name]]
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
        worst=images[int(values.argmax())] if images else None,
    )


def doubt_frequent_ties(
    results: Sequence[ImageResult], tolerances: Tolerances
) -> tuple[Unmatched, ...]:
    """All unmatched detections; ties become defects where they are too many to be believed."""
    unmatched = [item for result in results for item in result.unmatched]
    ties = sum(item.kind == "nms tie" and item.side == "reference" for item in unmatched)
    agreeing = sum(int(within(result, tolerances).sum()) for result in results)
    if ties <= TIE_SHARE * agreeing:
        return tuple(unmatched)
    return tuple(
        replace(item, kind="too many ties", benign=False) if item.kind == "nms tie" else item
        for item in unmatched
    )


def summarise_pasted(results: Sequence[ImageResult]) -> PastedMasks:
    """IoU of pasted masks over all images."""
    entries = [entry for result in results for entry in result.pasted]
    ious = [iou for iou, _ in entries]
    return PastedMasks(
        count=len(ious),
        min_iou=min(ious, default=1.0),
        mean_iou=float(np.mean(ious)) if ious else 1.0,
        low=tuple(low for _, low in entries if low is not None),
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
            f"{counted(len(defects), 'unmatched detection')} without a benign cause (first: {first.side}'s "
            f"{first.label} in {first.image}, {first.kind})"
        )
    if not counts.matched:
        # Also where all that is left are flips: not one box, score or mask was compared.
        yield "nothing was compared"
