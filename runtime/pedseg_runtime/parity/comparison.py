"""Compare two lists of detections, image by image, and come to one verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..detections import Detections
from ..errors import InputError
from .matching import MatchedImage
from .pasted import compare_pasted
from .report import ParityReport, Settings
from .settling import Rerun, settle
from .tolerances import FP32, Tolerances
from .verdict import count, statistics, verdict


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
        min_size: of the shorter side of the picture that both networks saw, in pixels; without it
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
    settled = settle(matched, tolerances, settings, reruns)
    images = [image for image, _ in settled]
    unmatched = tuple(item for _, items in settled for item in items)
    names_of_fields = ("scores", "boxes", mask_field)
    fields = tuple(statistics(name, images, getattr(tolerances, name)) for name in names_of_fields)
    pasted = compare_pasted(images, tolerances)
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
