"""One picture twice, its truth beside what was found on it, coloured by what became of each."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime.draw import Color, draw_instances

from ..evaluation.outcomes import ImageOutcome
from ..evaluation.run_lengths import decode

RIGHT: Color = (86, 180, 233)  # of Okabe and Ito, as the plots
MISSED: Color = (213, 94, 0)
FALSE: Color = (240, 228, 66)
CROWD: Color = (160, 160, 160)
_JPEG_QUALITY = 80


def draw_pair(
    image: NDArray[np.uint8], truth: Sequence[dict[str, Any]], outcome: ImageOutcome
) -> tuple[Image.Image, Image.Image]:
    """The truth with those who were missed, and the detections with the false alarms.

    Args:
        image: uint8 [H, W, 3] RGB.
        truth: the entries of `Recording.truth` on this picture.
        outcome: what became of them; errors are captioned with their reason.
    """
    reasons = {id(one.annotation): str(one.reason) for one in outcome.missed}
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
    return _draw(image, left), _draw(image, right)


def data_uri(picture: Image.Image, *, longest: int) -> str:
    """A picture as a JPEG inside a URI, no side longer than `longest` pixels."""
    scale = min(1.0, longest / max(picture.size))
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _draw(
    image: NDArray[np.uint8], instances: Sequence[tuple[dict[str, Any], str, Color]]
) -> Image.Image:
    """Every instance with its caption in its color; errors lie on top."""
    # The first lies on top.
    instances = sorted(instances, key=lambda one: one[2] == RIGHT)
    if not instances:
        return Image.fromarray(image)
    masks = np.stack([decode(entry["segmentation"]) for entry, _, _ in instances])
    captions = [caption for _, caption, _ in instances]
    return draw_instances(image, masks, None, captions, [color for _, _, color in instances])
