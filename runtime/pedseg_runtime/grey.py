"""Grey pixels of more than 8 bits: their white level, which way they go, and what has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 2


def eight_bit(image: Image.Image) -> Image.Image | None:
    """A decoded image of 12 or 16 bit grey scaled to 8 bit: 0 is black, the largest value white.

    Returns:
        A new image of mode L; None if the image holds nothing beyond 8 bit.

    Raises:
        InputError: its values are signed, floats or of 32 bit, which say nothing of where white is.
    """
    from PIL import Image as PillowImage

    tags: Any = getattr(image, "tag_v2", {})
    for kind in _tuple(tags.get(_SAMPLE_FORMAT, _UNSIGNED)):
        if kind != _UNSIGNED:
            raise _refused("signed integers" if kind == _SIGNED else "floats")
    if image.mode == "F":
        raise _refused("32-bit floats")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return None
    bits = int(_tuple(tags.get(_BITS_PER_SAMPLE, 16))[0])
    white = (1 << bits) - 1
    values = np.asarray(image)
    if bits > 16 or values.min(initial=0) < 0 or values.max(initial=0) > white:
        raise _refused("32-bit integers")
    scaled = values.astype(np.uint32)  # in place from here on: images may be large
    if tags and tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO:  # as Pillow for 8 bit
        np.subtract(white, scaled, out=scaled)
    scaled *= 255
    scaled += white // 2
    scaled //= white
    return PillowImage.fromarray(scaled.astype(np.uint8))


def _refused(found: str) -> InputError:
    return InputError(f"expected unsigned pixels of 16 bit at most, found {found}; scale to 8 bit")


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
