"""Flips that the detections alone cannot show: another region proposal made it past the RPN.

The RPN keeps its best proposals that NMS leaves, and where two of them are all but equal, rounding
decides. A detection that stems from such a proposal is on one side only, and nothing among the
detections tells why. So the reference is run again with noise of the size of rounding on its RPN:
what it then finds as well, or then misses too, is no defect. The noise is the margin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..detections import Detections
from .matching import MatchedImage, box_differences
from .report import UNEXPLAINED, Unmatched
from .tolerances import Tolerances

Rerun = tuple[float, Detections]
"""The noise's standard deviation, in logits and box deltas of the RPN, and what was found then."""
ByIndex = dict[int, Unmatched]


def explain_by_reruns(
    image: MatchedImage,
    left: ByIndex,
    right: ByIndex,
    reruns: Iterable[Rerun],
    *,
    tolerances: Tolerances,
    apart: float,
) -> tuple[ByIndex, ByIndex]:
    """Excuse what a run of the reference with a little noise decides like the candidate.

    Args:
        image: both sides, and how their masks are measured.
        left: detections of the reference that have no partner, by index.
        right: those of the candidate.
        reruns: by rising noise; read no further than needed, not at all if all is explained.
        tolerances: limits per field, for what a rerun finds like the candidate.
        apart: pixels; the reference's detection is gone if no box of its label is so near.

    Returns:
        `left` and `right`, some of their unexplained ones as benign proposal flips.
    """
    sides = dict(left), dict(right)
    if not any(_unexplained(side) for side in sides):
        return sides
    for noise, again in reruns:
        found = MatchedImage.of(again, image.candidate, image.name, tolerances, image.mask_field)
        also = set(found.pairs[found.agreeing(tolerances), 1].tolist())
        first, second = (_unexplained(side) for side in sides)
        gone = {index for index in first if not _is_there(image.reference, index, again, apart)}
        for side, explained in zip(sides, (gone, second & also), strict=True):
            side |= {
                index: replace(side[index], kind="proposal flip", benign=True, noise_margin=noise)
                for index in explained
            }
        if gone == first and second <= also:
            break
    return sides


def _unexplained(side: ByIndex) -> set[int]:
    return {index for index, item in side.items() if item.kind == UNEXPLAINED}


def _is_there(own: Detections, index: int, other: Detections, apart: float) -> bool:
    """Whether `other` has a box of that label at most `apart` pixels away."""
    near = box_differences(own.boxes[index], other.boxes) <= apart
    return bool((near & (other.labels == own.labels[index])).any())
