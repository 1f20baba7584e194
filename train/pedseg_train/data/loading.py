"""Recognise the layout of a dataset and open it, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pedseg_runtime.errors import DatasetError

from .coco.files import find_annotations
from .coco.images import CocoImages
from .pennfudan import PennFudanImages
from .pennfudan_layout import IMAGES, MASKS
from .protocol import LabelledImages


def open_images(
    path: str | Path,
    *,
    categories: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    images: str | Path | None = None,
) -> LabelledImages:
    """The labelled images at `path`; arguments and errors as for `open_dataset`.

    A file is COCO JSON. A folder with PNGImages or PedMasks is in the Penn-Fudan layout; another
    one must hold COCO JSON, in `annotations` or in itself.
    """
    file = coco_file(Path(path), images)
    if file is not None:
        return CocoImages(
            file,
            categories=categories,
            class_names=class_names,
            class_map=class_map,
            images=images,
        )
    return PennFudanImages(
        path, categories=categories, class_names=class_names, class_map=class_map
    )


def coco_file(path: Path, images: str | Path | None = None) -> Path | None:
    """The COCO JSON file that `path` stands for; None if it is to be read as Penn-Fudan.

    Raises:
        DatasetError: a folder with several files that might be meant; or images are named apart
            for a layout that knows where its own are.
    """
    if path.is_file():
        return path
    penn_fudan = not path.is_dir() or any((path / folder).is_dir() for folder in (IMAGES, MASKS))
    file = None if penn_fudan else find_annotations(path)
    if file is None and images is not None:
        raise DatasetError(
            f"{path}: expected a folder of images for COCO JSON only, found {images} for another "
            "layout; leave it out"
        )
    return file
