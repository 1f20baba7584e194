"""Blur what was found, so that an image can be shown without showing who is on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .images import read_image
from .masks import PastedMask

if TYPE_CHECKING:
    from PIL import Image

# Of the box's longer side: how far around a mask is blurred too, and the coarseness of the blur.
_MARGIN = 0.04
_COARSENESS = 0.12
_LEAST_PIXELS = 2


def blur_masks(
    image: Image.Image | NDArray[np.uint8],
    crops: Sequence[PastedMask],
    image_size: tuple[int, int],
) -> Image.Image:
    """A copy of `image` on which nothing can be recognised where the masks are, and close by.

    Each is replaced by averages over blocks of an eighth of its own size, drawn smoothly, and the
    details are gone, not hidden. What was not found stays as it is.

    Args:
        image: PIL image or uint8 [H, W, 3] RGB.
        crops: masks of that image, see `Detections.crops`.
        image_size: (height, width) of the image that they are of.

    Raises:
        InputError: the image has another size.
    """
    from PIL import Image

    pixels = read_image(image, max_pixels=None).copy()
    if pixels.shape[:2] != image_size:
        raise InputError(
            f"image: expected the detections' own size {image_size} (height, width), found "
            f"{pixels.shape[:2]}; blur the image that was segmented"
        )
    for crop in crops:
        if crop.bits.any():
            _blur(pixels, crop)
    return Image.fromarray(pixels)


def blur_whole(image: NDArray[np.uint8]) -> Image.Image:
    """A copy of `image`, uint8 [H, W, 3] RGB, that is blurred all over."""
    whole = PastedMask(0, 0, np.ones(image.shape[:2], np.bool_))
    return blur_masks(image, [whole], image.shape[:2])


def _blur(pixels: NDArray[np.uint8], crop: PastedMask) -> None:
    """Blur one mask in `pixels`, in place."""
    from PIL import Image

    side = max(crop.bits.shape)
    margin = max(_LEAST_PIXELS, round(_MARGIN * side))
    top, left = max(0, crop.top - margin), max(0, crop.left - margin)
    bottom = crop.top + crop.bits.shape[0] + margin
    right = crop.left + crop.bits.shape[1] + margin
    window = pixels[top:bottom, left:right]
    mask = np.zeros(window.shape[:2], np.bool_)
    rows, columns = crop.top - top, crop.left - left
    inside = mask[rows : rows + crop.bits.shape[0], columns : columns + crop.bits.shape[1]]
    inside[crop.bits] = True
    block = max(_LEAST_PIXELS, round(_COARSENESS * side))
    size = (window.shape[1], window.shape[0])
    coarse = tuple(-(-length // block) for length in size)
    blurred = Image.fromarray(window).resize(coarse, Image.Resampling.BOX)
    blurred = blurred.resize(size, Image.Resampling.BICUBIC)
    chosen = _grown(mask, margin)
    window[chosen] = np.asarray(blurred)[chosen]


def _grown(mask: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """The mask [h, w] with all pixels that are no more than `margin` rows and columns away."""
    for axis, length in enumerate(mask.shape):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (margin + 1, margin)
        sums = np.pad(mask, padding).cumsum(axis=axis, dtype=np.int32)
        last = np.arange(length) + 2 * margin + 1
        mask = sums.take(last, axis) > sums.take(np.arange(length), axis)
    return mask
