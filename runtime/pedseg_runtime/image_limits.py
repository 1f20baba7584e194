"""Which images an artifact takes on a device: torchvision's resize rule, memory, fixed sizes."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .artifact.manifest import Manifest
from .batches import runs_on_cpu
from .containers import memory_limit
from .errors import DeviceError, InputError
from .images import Source, read_image
from .text import quote

DEFAULT_MAX_PIXELS = 48 * 2**20
"""Pixels of the largest image that a `Segmenter` takes unless the caller says otherwise.

8192x6144, the 50 megapixels of a phone's camera: a run on the CPU takes 1.4 GB for it.
"""

# Bytes that a run surely needs, whatever runs it: two float32 copies of the image [3, H, W] while
# it is normalised, and one of what the network gets.
_PIXEL_BYTES, _NETWORK_PIXEL_BYTES = 24, 12


class ImageLimits:
    """What an image must be, so that a run on it can succeed."""

    def __init__(self, manifest: Manifest, provider: str, max_pixels: int | None) -> None:
        """Find out the limits.

        Args:
            manifest: of the artifact, which may be fixed to one size.
            provider: what runs it; on a CPU, runs share the memory of the process.
            max_pixels: height times width of the largest image; None takes any.
        """
        self._manifest, self._max_pixels = manifest, max_pixels
        self._memory = memory_limit() if runs_on_cpu(provider) else None

    def read(self, image: Source, name: str) -> NDArray[np.uint8]:
        """Read one image as uint8 [H, W, 3] RGB, see `Segmenter.read`.

        Raises:
            DeviceError: there is too little memory to read it.
            InputError: the image cannot be used.
        """
        path = quote(os.fspath(image)) if isinstance(image, str | os.PathLike) else None
        try:
            pixels = read_image(image, max_pixels=self._max_pixels)
        except (DeviceError, InputError) as error:
            if path is not None or name == "image":
                raise
            raise type(error)(f"{name}: {str(error).removeprefix('image: ')}") from error
        self.check_size(name if path is None else path, pixels.shape[0], pixels.shape[1])
        return pixels

    def check_size(self, name: str, height: int, width: int) -> None:
        """Refuse an image of a size that the artifact cannot run on.

        Raises:
            InputError: resizing leaves nothing of it or takes more memory than there is, or the
                artifact is fixed to another size.
        """
        manifest, fixed = self._manifest, self._manifest.static_shape
        if fixed is None:
            limits = manifest.min_size, manifest.max_size
            check_resizable(name, (height, width), *limits, memory=self._memory)
        elif (height, width) != fixed[1:]:
            raise InputError(
                f"{name}: expected {fixed[1]}x{fixed[2]} (height x width), the one size that this "
                f"artifact is fixed to, found {height}x{width}; resize the image, or export "
                "without --static"
            )


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


def warmup_sizes(warmup: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (height, width) to warm up with.

    Raises:
        InputError: they are no pairs of positive integers.
    """
    sizes = []
    try:
        for height, width in warmup:
            if min(operator.index(height), operator.index(width)) < 1:
                raise ValueError
            sizes.append((height, width))
    except (TypeError, ValueError) as error:
        raise InputError(
            "warmup: expected a list of positive (height, width), such as [(480, 640)], found "
            f"{quote(warmup)}"
        ) from error
    return sizes
