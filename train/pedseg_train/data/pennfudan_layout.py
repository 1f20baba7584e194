"""The Penn-Fudan folder layout: which files belong together, and how one pair is read.

    ROOT/PNGImages/NAME.png       the image
    ROOT/PedMasks/NAME_mask.png   one channel: 0 is the background, 1..N are the people
    ROOT/Annotation/NAME.txt      optional, not read

Needs no torch, so that `pedseg-data` starts quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime.errors import DatasetError, InputError
from pedseg_runtime.images import read_image

IMAGES = "PNGImages"
MASKS = "PedMasks"
MASK_SUFFIX = "_mask"

# Called with how much is done and how much there is, after every step.
Progress = Callable[[int, int], None]

# What pillow raises for a file that is no image, ends early, is damaged or absurdly large.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def image_path(root: Path, name: str) -> Path:
    """The image of `name`."""
    return root / IMAGES / f"{name}.png"


def mask_path(root: Path, name: str) -> Path:
    """The mask of `name`."""
    return root / MASKS / f"{name}{MASK_SUFFIX}.png"


def check_root(root: Path) -> None:
    """Raise DatasetError unless `root` is a folder that holds PNGImages and PedMasks."""
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DatasetError(
            f"{root}: expected a dataset folder, found {found}; `pedseg-data download` fetches "
            "Penn-Fudan, `pedseg-data synthesize` makes a dataset"
        )
    missing = [folder for folder in (IMAGES, MASKS) if not (root / folder).is_dir()]
    if missing:
        raise DatasetError(
            f"{root}: expected the folders {IMAGES} and {MASKS}, found no "
            f"{' and no '.join(missing)}; name the folder that holds both, or a COCO JSON file"
        )


def image_names(root: Path) -> list[str]:
    """The names of all images, sorted."""
    return sorted(path.stem for path in png_files(root / IMAGES))


def mask_names(root: Path) -> list[str]:
    """The names of the images that the masks belong to, sorted."""
    return sorted(path.stem.removesuffix(MASK_SUFFIX) for path in png_files(root / MASKS))


def png_files(folder: Path) -> list[Path]:
    """The PNG files of a folder, sorted by name; hidden ones are not part of a dataset."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix == ".png" and not path.name.startswith(".") and path.is_file()
    )


def read_named_image(path: Path) -> NDArray[np.uint8]:
    """The image at `path`, uint8 [H, W, 3] RGB; DatasetError names a file that cannot be read."""
    try:
        return read_image(path)  # the very pixels that the runtime would see
    except InputError as error:
        raise DatasetError(str(error)) from error


def read_mask(path: Path) -> NDArray[np.integer]:
    """The instance ids at `path`, an integer array [H, W], 0 for the background.

    Palette images yield their indices. DatasetError for anything but one integer channel.
    """
    try:
        with Image.open(path) as image:
            mode, ids = image.mode, np.array(image)
    except FileNotFoundError:
        raise DatasetError(f"{path}: expected a mask, found nothing; was it moved?") from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"{path}: expected a mask, found a damaged file ({reason}); get the file anew"
        ) from error
    if mode == "1":
        ids = ids.astype(np.uint8)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise DatasetError(
            f"{path}: expected a mask of one channel with instance ids (mode L or P), found mode "
            f"{mode}; save the ids as a grey PNG"
        )
    return ids


def read_pair(root: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """Image uint8 [H, W, 3] and ids [H, W] of `name`; DatasetError if their sizes differ."""
    image, ids = read_named_image(image_path(root, name)), read_mask(mask_path(root, name))
    if ids.shape != image.shape[:2]:
        (height, width), (mask_height, mask_width) = image.shape[:2], ids.shape
        raise DatasetError(
            f"{mask_path(root, name)}: expected the image's size {width}x{height}, found "
            f"{mask_width}x{mask_height}; image and mask must cover the same pixels"
        )
    return image, ids


def instance_ids(ids: NDArray[np.integer]) -> NDArray[np.integer]:
    """The ids that occur in `ids`, ascending, without the background."""
    found: NDArray[np.integer] = np.unique(ids[ids != 0])
    return found


def split_instances(ids: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Ids [H, W] -> one mask per instance, bool [N, H, W], in the order of their ids."""
    masks: NDArray[np.bool_] = ids[None] == instance_ids(ids)[:, None, None]
    return masks
