"""The Penn-Fudan folder layout: which files belong together, and how one pair is read.

    ROOT/PNGImages/NAME.png       the image; also .jpg and .jpeg, and suffixes in capitals
    ROOT/PedMasks/NAME_mask.png   one channel: 0 is the background, 1..N are the people
    ROOT/Annotation/NAME.txt      optional, not read

Needs no torch, so that `pedseg-data` starts quickly.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pedseg_runtime.errors import DatasetError, DeviceError, InputError
from pedseg_runtime.images import read_image

IMAGES = "PNGImages"
MASKS = "PedMasks"
MASK_SUFFIX = "_mask"

# Called with how much is done and how much there is, after every step.
Progress = Callable[[int, int], None]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MASK_SUFFIXES = (".png",)  # JPEG would change the ids
_ORIENTATION = 0x0112
_FIRST_TRANSPOSED = 5  # orientations from here on exchange width and height

# What pillow raises for a file that is no image, ends early, is damaged or absurdly large.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def image_path(root: Path, name: str) -> Path:
    """The image of `name`."""
    return root / IMAGES / f"{name}.png"


def mask_path(root: Path, name: str) -> Path:
    """The mask of `name`."""
    return root / MASKS / f"{name}{MASK_SUFFIX}.png"


def find_image(root: Path, name: str) -> Path:
    """The image of `name` that is there, whatever its suffix; `image_path` if none is."""
    return _find(image_path(root, name), IMAGE_SUFFIXES)


def find_mask(root: Path, name: str) -> Path:
    """The mask of `name` that is there; `mask_path` if none is."""
    return _find(mask_path(root, name), MASK_SUFFIXES)


def _find(usual: Path, suffixes: Sequence[str]) -> Path:
    """The file with the first suffix there is; in the other Unicode form if in neither case."""
    stem = usual.name.removesuffix(".png")
    for form in (stem, *(unicodedata.normalize(form, stem) for form in ("NFC", "NFD"))):
        for suffix in suffixes:
            for path in (
                usual.with_name(f"{form}{suffix}"),
                usual.with_name(f"{form}{suffix.upper()}"),
            ):
                if path.is_file():
                    return path
    return usual


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
    return sorted({path.stem for path in image_files(root / IMAGES)})


def mask_names(root: Path) -> list[str]:
    """The names of the images that the masks belong to, sorted."""
    return sorted({path.stem.removesuffix(MASK_SUFFIX) for path in image_files(root / MASKS)})


def image_files(folder: Path) -> list[Path]:
    """The images or masks of a folder, sorted by name; hidden files are not part of a dataset."""
    suffixes = MASK_SUFFIXES if folder.name == MASKS else IMAGE_SUFFIXES
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def orientation_of(path: Path) -> int | None:
    """The EXIF orientation, 2 to 8, by which an image is turned when it is read; None for none."""
    try:
        with Image.open(path) as image:
            found = image.getexif().get(_ORIENTATION)
    except Exception:  # a damaged header makes Pillow raise nearly anything, and is told elsewhere
        return None
    return found if found in range(2, 9) else None


def read_named_image(path: Path) -> NDArray[np.uint8]:
    """The image at `path`, uint8 [H, W, 3] RGB; DatasetError names a file that cannot be read."""
    try:
        return read_image(path)  # the very pixels that the runtime would see
    except (DeviceError, InputError) as error:
        raise DatasetError(str(error)) from error


def read_mask(path: Path) -> NDArray[np.integer]:
    """The instance ids at `path`, an integer array [H, W], 0 for the background.

    Palette images yield their indices, and an EXIF orientation is applied, as it is to images.
    DatasetError for anything but one integer channel.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            mode, ids = upright.mode, np.array(upright)
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
    """Image uint8 [H, W, 3] and ids [H, W] of `name`, both upright.

    Raises:
        DatasetError: a damaged file, sizes that differ, or an image that its EXIF orientation turns
            while nothing tells whether its mask was drawn before or after.
    """
    image_file, mask_file = find_image(root, name), find_mask(root, name)
    image, ids = read_named_image(image_file), read_mask(mask_file)
    (height, width), (mask_height, mask_width) = image.shape[:2], ids.shape
    turn = orientation_of(image_file)
    transposed = turn is not None and turn >= _FIRST_TRANSPOSED
    differ = ids.shape != image.shape[:2]
    unclear = not differ and turn is not None and not (transposed and height != width)
    if (unclear and orientation_of(mask_file) is None) or (
        transposed and ids.shape == image.shape[1::-1] and differ
    ):
        raise DatasetError(
            f"{image_file}: expected image and mask turned alike, found an EXIF orientation of "
            f"{turn} on the image only; if the mask fits what a viewer shows, save the image "
            "upright, else remove its orientation (exiftool -Orientation= FILE)"
        )
    if differ:
        raise DatasetError(
            f"{mask_file}: expected the image's size {width}x{height}, found "
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
