"""Recognise the layout of a dataset and open it, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pedseg_runtime.errors import DatasetError

from .pennfudan import PennFudanPictures
from .protocol import LabelledPictures


def open_pictures(
    path: str | Path,
    *,
    categories: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    images: str | Path | None = None,
) -> LabelledPictures:
    """The labelled pictures at `path`; arguments and errors as for `open_dataset`."""
    if images is not None:
        raise DatasetError(
            f"{path}: expected a folder of pictures for COCO JSON only, found {images} for another "
            "layout; leave it out"
        )
    return PennFudanPictures(path, categories=categories, class_names=class_names)
