"""Compare two lists of detections, image by image, and come to one verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ..detections import ROI_MASK_SIZE, Detections
from ..errors import InputError
from ..text import pluralize
from .flip_analysis import Rerun, analyse_flips
from .matching import MatchedImage
from .overlap import paste_detection, paste_shift_margin, pasted_iou
from .report import (
    Counts,
    FieldStatistics,
    LowPaste,
    ParityReport,
    PastedMasks,
    Settings,
    Unmatched,
)
from .tolerances import FP32, Tolerances

UNITS = {
    "scores": "fraction",
    "boxes": "pixels",
    "roi_masks": "probability",
    "masks": "IoU loss",
}
LOW_IOU = 0.99


def compare(
    reference: Sequence[Detections],
    candidate: Sequence[Detections],
    *,
    tolerances: Tolerances = FP32,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
    min_size: int | None = None,
    max_size: int | None = None,
    names: Sequence[str] | None = None,
    reruns: Callable[[int], Iterable[Rerun]] | None = None,
) -> ParityReport:
    """Compare two sides' detections of the same images.

    Masks are compared as soft masks where both sides have them, else as the pixels they become.

    Args:
        reference: the truth, one entry per image.
        candidate: what is to be judged, same images, same order.
        tolerances: limits per field.
        score_threshold: both sides kept detections with a higher score than this.
        nms_threshold: both sides suppressed boxes with a higher IoU than this.
        detections_per_image: both sides kept at most so many.
        min_size: of the shorter side of the image that both networks saw, in pixels; without it
            and the next, no difference of masks is put down to RoIAlign's jump at the far edge.
        max_size: of its longer side.
        names: image names for the report; `image 0`, `image 1`, ... by default.
        reruns: from the position of an image to what the reference finds on it with noise of the
            size of rounding on its RPN, by rising noise. Asked for only where a few detections
            have no other explanation; without it those are defects.

    Returns:
        A report that is true if no defect was found and something was compared.

    Raises:
        InputError: the two sides are not about the same images, classes and soft mask sizes.
    """
    titles = _checked_names(reference, candidate, names)
    settings = Settings(score_threshold, nms_threshold, detections_per_image, min_size, max_size)
    by_pixels = any(side.roi_masks is None for side in (*reference, *candidate))
    mask_field = "masks" if by_pixels else "roi_masks"
    matched = [
        MatchedImage.of(first, second, name, tolerances, mask_field)
        for first, second, name in zip(reference, candidate, titles, strict=True)
    ]
    classified = analyse_flips(matched, tolerances, settings, reruns)
    images = [image for image, _ in classified]
    unmatched = tuple(item for _, items in classified for item in items)
    names_of_fields = ("scores", "boxes", mask_field)
    fields = tuple(statistics(name, images, getattr(tolerances, name)) for name in names_of_fields)
    pasted = _compare_pasted(images, tolerances)
    counts = count(images, unmatched, pasted, tolerances)
    passed, reason = verdict(counts, fields, unmatched)
    return ParityReport(
        passed=passed,
        reason=reason,
        counts=counts,
        fields=fields,
        pasted=pasted,
        unmatched=unmatched,
        tolerances=tolerances,
        settings=settings,
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
        if first.roi_masks is None or second.roi_masks is None:
            continue
        shapes = first.roi_masks.shape[1:], second.roi_masks.shape[1:]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"parity of {name}: expected RoI masks of {shapes[0]}, found {shapes[1]}; "
                "compare soft masks of one size"
            )
    return titles


def _compare_pasted(images: Sequence[MatchedImage], tolerances: Tolerances) -> PastedMasks:
    """Paste both masks of every pair and compare the pixels."""
    entries = [
        _compare_pair(image, position, tolerances)
        for image in images
        for position in np.flatnonzero(~np.isnan(image.differences[image.mask_field])).tolist()
    ]
    ious = [iou for iou, _ in entries]
    return PastedMasks(
        count=len(ious),
        min_iou=min(ious, default=1.0),
        mean_iou=sum(ious) / len(ious) if ious else 1.0,
        low=tuple(low for _, low in entries if low is not None),
    )


def _compare_pair(
    image: MatchedImage, position: int, tolerances: Tolerances
) -> tuple[float, LowPaste | None]:
    """IoU of both pasted masks of a pair and, if it is low, what explains it."""
    first, second = image.pairs[position].tolist()
    reference, candidate = image.reference, image.candidate
    iou = pasted_iou(paste_detection(reference, first), paste_detection(candidate, second))
    if iou >= LOW_IOU:
        return iou, None
    soft = reference.roi_masks if reference.roi_masks is not None else candidate.roi_masks
    mask_size = ROI_MASK_SIZE if soft is None else soft.shape[-1]
    margin = paste_shift_margin(reference.boxes[first], candidate.boxes[second], mask_size)
    if image.mask_field == "masks":
        explained = bool(image.differences["masks"][position] <= tolerances.masks)
    else:
        explained = margin is not None and margin <= tolerances.boxes
    kind = "soft values at the threshold" if margin is None else "one-pixel paste shift"
    if image.mask_field == "masks" and not explained:
        kind = "unexplained"
    return iou, LowPaste(image.name, first, iou, kind, explained, margin)


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
    flips = f", {pluralize(counts.benign_flips, 'benign flip')}" if counts.benign_flips else ""
    return True, f"{pluralize(counts.matched, 'pair')} within all limits{flips}"


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
            f"{pluralize(len(defects), 'unmatched detection')} without a benign cause "
            f"(first: {first.side}'s {first.label} in {first.image}, {first.kind})"
        )
    elif not counts.matched:
        # Also where all that is left are flips: not one box, score or mask was compared.
        yield "nothing was compared"
