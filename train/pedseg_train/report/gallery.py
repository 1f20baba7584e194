"""The images that say most of a model, each twice: its truth beside what was found on it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime.draw import Color, draw_instances

from ..data.coco.segmentation import decode
from ..evaluation.analysis import Analysis
from ..evaluation.image_rows import ImageRow
from ..evaluation.outcomes import FalseNegative, ImageOutcome
from ..evaluation.recording import Annotated, Recording

WORST, BEST = 6, 3
LONGEST = 560  # pixels of an image's longer side
RIGHT: Color = (86, 180, 233)  # of Okabe and Ito, as the plots
MISSED: Color = (213, 94, 0)
FALSE: Color = (240, 228, 66)
CROWD: Color = (160, 160, 160)
MOST_ENLARGED = 3.0
_JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One image for the page.

    Attributes:
        row: how the model did on it.
        truth, found: data URIs of the two drawings.
    """

    row: ImageRow
    truth: str
    found: str


def choose(rows: Sequence[ImageRow]) -> tuple[list[int], list[int]]:
    """Places of the worst rows, worst first, and of the best ones, best first; none in both.

    Most errors are worst, then the loosest masks. Best are the fewest errors, then most people,
    then the tightest masks; an empty image without a detection is neither.
    """
    places = [place for place, row in enumerate(rows) if row.f1 is not None]
    by_errors = sorted(places, key=lambda at: (-rows[at].errors, rows[at].mean_iou or 0.0))
    worst = by_errors[:WORST]
    best = sorted(
        (place for place in by_errors[WORST:] if rows[place].matched),
        key=lambda at: (rows[at].errors, -rows[at].matched, -(rows[at].mean_iou or 0.0)),
    )
    return worst, best[:BEST]


def exhibit(
    places: Sequence[int], dataset: Annotated, recording: Recording, analysis: Analysis
) -> list[Exhibit]:
    """Draw the images at some places of the recording."""
    truths = recording.by_image()
    exhibits = []
    for place in places:
        outcome = analysis.outcomes["segm"][place]
        image = dataset.image(outcome.image)
        truth, found = draw_pair(image, truths[place][0], outcome, longest=LONGEST)
        exhibits.append(
            Exhibit(
                row=analysis.rows[place],
                truth=data_uri(truth),
                found=data_uri(found),
            )
        )
    return exhibits


def draw_pair(
    image: NDArray[np.uint8],
    truth: Sequence[dict[str, Any]],
    outcome: ImageOutcome,
    *,
    longest: int | None = None,
) -> tuple[Image.Image, Image.Image]:
    """The truth with its misses, and the detections with the false alarms.

    Args:
        image: uint8 [H, W, 3] RGB.
        truth: the entries of `Recording.truth` on this image.
        outcome: which of them were found; errors are captioned with their reason.
        longest: the drawings' longer side in pixels, of a small image at most three times its
            own; None keeps the image's size.
    """
    reasons = {
        id(one.annotation): "missed" if one.reason is FalseNegative.ENTIRELY else str(one.reason)
        for one in outcome.missed
    }
    left = [
        (
            person,
            reasons.get(id(person), ""),
            CROWD if person["iscrowd"] else MISSED if id(person) in reasons else RIGHT,
        )
        for person in truth
    ]
    right = [
        (
            one.annotation,
            f"{one.annotation['score']:.2f}" + (f" {one.reason}" if one.reason else ""),
            FALSE if one.reason else RIGHT,
        )
        for one in outcome.shown
    ]
    scale = 1.0 if longest is None else min(MOST_ENLARGED, longest / max(image.shape))
    return _draw(image, left, scale), _draw(image, right, scale)


def data_uri(image: Image.Image) -> str:
    """An image as a JPEG inside a URI."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _draw(
    image: NDArray[np.uint8],
    instances: Sequence[tuple[dict[str, Any], str, Color]],
    scale: float,
) -> Image.Image:
    """Every instance with its caption in its color; errors lie on top.

    Everything is scaled first, so that lines and captions are of the size they are seen in.
    """
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    drawing = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    if not instances:
        return drawing
    instances = sorted(instances, key=lambda one: one[2] == RIGHT)  # the first lies on top
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    masks = np.stack(
        [
            decode(entry["segmentation"], (image.shape[0], image.shape[1]))[np.ix_(rows, columns)]
            for entry, _, _ in instances
        ]
    )
    captions = [caption for _, caption, _ in instances]
    return draw_instances(drawing, masks, None, captions, [color for _, _, color in instances])
