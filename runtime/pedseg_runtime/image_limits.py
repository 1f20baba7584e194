"""Which images an artifact takes on a device, and reading them."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from .artifact.manifest import Manifest
from .batches import runs_on_cpu
from .containers import memory_limit
from .errors import DeviceError, InputError
from .images import Source, read_image
from .resizing import check_resizable

DEFAULT_MAX_PIXELS = 48 * 2**20
"""Pixels of the largest image that a `Segmenter` takes unless the caller says otherwise.

8192x6144, the 50 megapixels of a phone's camera: a run on the CPU takes 1.4 GB for it.
"""


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
        path = os.fspath(image) if isinstance(image, str | os.PathLike) else None
        try:
            pixels = read_image(image, max_pixels=self._max_pixels)
        except MemoryError as error:
            raise DeviceError(f"{name}: expected memory to read it, found too little") from error
        except InputError as error:
            if path is not None or name == "image":
                raise
            raise InputError(f"{name}: {str(error).removeprefix('image: ')}") from error
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
