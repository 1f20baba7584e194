"""Pictures to calibrate on: a folder is looked through before anything slow is begun."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.errors import InputError
from pedseg_runtime.images import find_images, read_image

Image = NDArray[np.uint8]

# On a MobileNetV2, 10 pictures did as well as 60: AP within half a point of float. Twenty leave
# room for pictures that resemble each other; forty take two minutes with a ResNet-50 on two cores.
MINIMUM = 20
LIMIT = 40
BLANK = 2.0  # grey levels; the noise of a covered lens is about one
NAMED = 5  # files in a message


class Pictures(Sequence[Image]):
    """Image files that are read when asked for: forty photographs may well be 1.5 GiB of pixels.

    Attributes:
        files: where they are.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> Image | Pictures:
        """Picture `index` as uint8 [H, W, 3] RGB, or some of them, not yet read."""
        if isinstance(index, slice):
            return Pictures(self.files[index])
        return read_image(self.files[index])


def read_calibration(folder: Path, *, minimum: int = MINIMUM, limit: int = LIMIT) -> Pictures:
    """The pictures of a folder that can be calibrated on, evenly spread over its sorted names.

    Blank pictures and copies of others tell nothing and are left out.

    Args:
        folder: with image files, as the service will see them.
        minimum: of different pictures that are not blank.
        limit: of pictures that are looked at; time grows with them and ranges hardly do.

    Raises:
        InputError: nothing is there, a file cannot be read, or too few are of use; the message
            names files.
    """
    if not 1 <= minimum <= limit:
        raise InputError(f"calibration: expected 1 <= minimum <= limit, found {minimum}, {limit}")
    found = find_images(folder)
    looked_at = [found[index * len(found) // limit] for index in range(limit)]
    looked_at = list(dict.fromkeys(looked_at))
    useful, useless = _sorted_out(looked_at)
    if len(useful) < minimum:
        more = f", and {_named(useless)} blank or a copy" if useless else ""
        raise InputError(
            f"{folder}: expected at least {minimum} different pictures to calibrate on, found "
            f"{len(useful)}{more}; add pictures as the service will see them"
        )
    return Pictures(useful)


def _sorted_out(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files that show something new, and those that do not.

    Raises:
        InputError: some cannot be read.
    """
    useful: list[Path] = []
    useless: list[Path] = []
    broken: list[Path] = []
    seen: set[bytes] = set()
    reason = ""
    for file in files:
        try:
            picture = read_image(file)
        except InputError as error:
            broken.append(file)
            reason = reason or str(error)
            continue
        digest = hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()
        contrast = float(picture[::4, ::4].std(axis=(0, 1)).max())
        new = digest not in seen and contrast > BLANK
        seen.add(digest)
        (useful if new else useless).append(file)
    if broken:
        raise InputError(
            f"calibration: expected images, found {_named(broken)} unreadable ({reason}); "
            "remove or replace them"
        )
    return useful, useless


def _named(files: Sequence[Path]) -> str:
    """The first names, and how many more there are."""
    names = ", ".join(file.name for file in files[:NAMED])
    return names if len(files) <= NAMED else f"{names} and {len(files) - NAMED} more"
