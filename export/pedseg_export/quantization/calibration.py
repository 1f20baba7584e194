"""Select calibration images from a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.errors import DeviceError, InputError
from pedseg_runtime.images import find_images, read_image

Image = NDArray[np.uint8]

# On a MobileNetV2, 10 images did as well as 60: AP within half a point of float. Twenty leave
# room for images that resemble each other; forty take two minutes with a ResNet-50 on two cores.
MINIMUM = 20
LIMIT = 40
BLANK = 2.0  # grey levels; the noise of a covered lens is about one
MAX_NAMES = 5  # files in a message


class CalibrationImages(Sequence[Image]):
    """Image files, read on access: forty photographs may have 1.5 GiB of pixels.

    Attributes:
        files: their paths.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> CalibrationImages: ...
    def __getitem__(self, index: int | slice) -> Image | CalibrationImages:
        """Image `index` as uint8 [H, W, 3] RGB; of a slice, the files, not yet read."""
        if isinstance(index, slice):
            return CalibrationImages(self.files[index])
        return read_image(self.files[index])


def read_calibration(
    folder: Path, *, minimum: int = MINIMUM, limit: int = LIMIT
) -> CalibrationImages:
    """The calibration images of a folder, evenly spread over its sorted names.

    Blank images and duplicates are left out.

    Args:
        folder: with image files, as the service will see them.
        minimum: smallest number of distinct images that are not blank.
        limit: largest number of images that are read; more take time and hardly change ranges.

    Raises:
        InputError: no image, an unreadable file, or too few usable images; the message names
            files.
    """
    if not 1 <= minimum <= limit:
        raise InputError(f"calibration: expected 1 <= minimum <= limit, found {minimum}, {limit}")
    found = find_images(folder)
    candidates = [found[index * len(found) // limit] for index in range(limit)]
    candidates = list(dict.fromkeys(candidates))
    usable, unusable = _select_usable(candidates)
    if len(usable) < minimum:
        more = f", and {_list_names(unusable)} blank or a copy" if unusable else ""
        raise InputError(
            f"{folder}: expected at least {minimum} different images to calibrate on, found "
            f"{len(usable)}{more}; add images as the service will see them"
        )
    return CalibrationImages(usable)


def _select_usable(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The usable files, and those that are blank or duplicates.

    Raises:
        InputError: files cannot be read.
    """
    usable: list[Path] = []
    unusable: list[Path] = []
    broken: list[Path] = []
    seen: set[bytes] = set()
    reason = ""
    for file in files:
        try:
            image = read_image(file)
        except (DeviceError, InputError) as error:
            broken.append(file)
            reason = reason or str(error)
            continue
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        contrast = float(image[::4, ::4].std(axis=(0, 1)).max())
        is_usable = digest not in seen and contrast > BLANK
        seen.add(digest)
        (usable if is_usable else unusable).append(file)
    if broken:
        raise InputError(
            f"calibration: expected images, found {_list_names(broken)} unreadable ({reason}); "
            "remove or replace them"
        )
    return usable, unusable


def _list_names(files: Sequence[Path]) -> str:
    """The first names, and the number of others."""
    names = ", ".join(file.name for file in files[:MAX_NAMES])
    return names if len(files) <= MAX_NAMES else f"{names} and {len(files) - MAX_NAMES} more"
