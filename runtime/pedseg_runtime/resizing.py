"""torchvision's resize rule, and which images it leaves anything of."""

from __future__ import annotations

import math

from .errors import InputError

# Bytes that a run surely needs, whatever runs it: two float32 copies of the image [3, H, W] while
# it is normalised, and one of what the network gets.
_PIXEL_BYTES, _NETWORK_PIXEL_BYTES = 24, 12


def resized_size(size: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    """Height and width that torchvision's detectors resize an image to, before their padding.

    The shorter side becomes `min_size`, unless the longer one would exceed `max_size`. Computed in
    float64 and rounded down, as torchvision does outside of tracing; a side may become 0.

    Args:
        size: height and width of the image, in pixels.
        min_size: target of the shorter side, in pixels.
        max_size: limit of the longer side, in pixels.
    """
    scale = min(min_size / min(size), max_size / max(size))
    return math.floor(size[0] * scale), math.floor(size[1] * scale)


def check_resizable(
    name: str, size: tuple[int, int], min_size: int, max_size: int, *, memory: int | None = None
) -> None:
    """Refuse an image of which the resize rule leaves nothing, or more than memory holds.

    Args:
        name: what to call the image.
        size: its height and width, in pixels.
        min_size: see `resized_size`.
        max_size: see `resized_size`.
        memory: bytes that this process may have; None checks no memory.

    Raises:
        InputError: a side would have no pixel, or the arrays of one run exceed `memory`.
    """
    height, width = resized_size(size, min_size, max_size)
    if 0 in (height, width):
        raise InputError(
            f"{name}: expected a longer side of at most {max_size} times the shorter one, so that "
            f"resizing (min_size {min_size}, max_size {max_size}) leaves a pixel of both, found "
            f"{size[0]}x{size[1]} (height x width), which becomes {height}x{width}; crop it"
        )
    needed = _PIXEL_BYTES * size[0] * size[1] + _NETWORK_PIXEL_BYTES * height * width
    if memory is not None and needed > memory:
        raise InputError(
            f"{name}: expected an image that can be resized within {memory >> 20} MiB, all the "
            f"memory that this process may have, found {size[0]}x{size[1]} (height x width), "
            f"resized to {height}x{width}, which takes {needed >> 20} MiB; scale it down"
        )
