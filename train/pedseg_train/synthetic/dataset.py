"""Write generated street scenes as a dataset in the Penn-Fudan layout."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime.errors import DatasetError, InputError
from pedseg_runtime.files import write_json

from ..data.pennfudan_layout import (
    IMAGES,
    MASKS,
    Progress,
    image_path,
    mask_path,
)
from .street import draw_street

# Increment it with every change that affects a pixel.
GENERATOR_VERSION = 1
MARKER = "synthesis.json"
README = "readme.txt"
MIN_SIDE, MAX_SIDE = 128, 2048
_README = """Generated street scenes with pedestrians, in the layout of the Penn-Fudan database.

PNGImages/street_00001.png      the image
PedMasks/street_00001_mask.png  one grey channel: 0 is the background, 1..N are the people
synthesis.json                  seed and settings: the same ones give the same images

Drawn by `pedseg-data synthesize` without photographs. Free to use.
"""


def draw_scene(
    seed: int, index: int, *, min_size: int = 240, max_size: int = 420, night: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw scene number `index` of the dataset with `seed`, independent of the other scenes.

    Args:
        seed: of the dataset, not negative.
        index: from 0.
        min_size: the smallest width and height in pixels.
        max_size: the largest width and height in pixels.
        night: whether it is dark but for street lamps.

    Returns:
        The image, uint8 [H, W, 3] RGB, and the ids of the people, uint8 [H, W], 0 background.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    width, height = (int(side) for side in rng.integers(min_size, max_size, 2, endpoint=True))
    return draw_street(rng, width=width, height=height, night=night)


def synthesize(
    root: Path,
    *,
    images: int,
    seed: int = 0,
    min_size: int = 240,
    max_size: int = 420,
    night: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, int | str]:
    """Write `images` scenes to the folder `root`.

    The dataset is made in a temporary folder and moved to `root` at the end, so that an interrupted
    run leaves nothing behind. An earlier synthesis in `root` is replaced; other files are kept.

    Args:
        root: the folder to fill.
        images: number of images.
        seed: the same seed gives the same images, byte for byte with the same numpy and pillow.
        min_size: the smallest width and height of an image in pixels.
        max_size: the largest width and height of an image in pixels.
        night: draw scenes after dark.
        force: also use a folder that holds other files; a dataset in it is replaced.
        progress: called after each image with the number done and the total.

    Returns:
        The content of `synthesis.json`: settings, and the number of people and empty streets.

    Raises:
        DatasetError: `root` holds other files.
        InputError: an argument out of range.
    """
    _check_numbers(images, seed, min_size, max_size)
    _check_target(root, force)
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        for folder in (IMAGES, MASKS):
            (fresh / folder).mkdir(parents=True)
        people, empty = 0, 0
        for index in range(images):
            image, ids = draw_scene(seed, index, min_size=min_size, max_size=max_size, night=night)
            name = f"street_{index + 1:05d}"
            Image.fromarray(image).save(image_path(fresh, name))
            Image.fromarray(ids).save(mask_path(fresh, name))
            people += int(ids.max())
            empty += not ids.any()
            if progress is not None:
                progress(index + 1, images)
        summary: dict[str, int | str] = {
            "generator_version": GENERATOR_VERSION,
            "seed": seed,
            "images": images,
            "min_size": min_size,
            "max_size": max_size,
            "night": night,
            "instances": people,
            "empty_streets": empty,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        }
        (fresh / README).write_text(_README, encoding="utf-8")
        write_json(fresh / MARKER, summary)
        _move(fresh, root, Path(temporary) / "old")
    return summary


def _check_numbers(images: int, seed: int, min_size: int, max_size: int) -> None:
    if images < 1:
        raise InputError(f"images: expected at least 1, found {images}")
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, found {seed}")
    if not MIN_SIDE <= min_size <= max_size <= MAX_SIDE:
        raise InputError(
            f"sizes: expected {MIN_SIDE} <= smallest <= largest <= {MAX_SIDE} pixels, found "
            f"{min_size} and {max_size}"
        )


def _check_target(root: Path, force: bool) -> None:
    """Raise DatasetError for a folder that holds other files."""
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root}: expected a folder to fill, found a file; choose another name")
    if force or not root.exists() or (root / MARKER).is_file() or not any(root.iterdir()):
        return
    raise DatasetError(
        f"{root}: expected an empty folder or an earlier synthesis, found other files; choose "
        "another folder or --force"
    )


def _move(fresh: Path, root: Path, old: Path) -> None:
    """Replace the dataset in `root` by `fresh`; the marker comes last, as a sign of success."""
    root.mkdir(exist_ok=True)
    old.mkdir()
    (root / MARKER).unlink(missing_ok=True)
    for name in (IMAGES, MASKS, README, MARKER):
        if (root / name).exists():
            shutil.move(root / name, old / name)
        (fresh / name).rename(root / name)
