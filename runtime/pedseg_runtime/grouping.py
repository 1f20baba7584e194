"""Several images of mixed sizes: which of them can share a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .images import Source


def several(images: Iterable[Source]) -> Iterable[Source]:
    """The argument itself, unless it is one image: its rows or letters would pass for images."""
    if isinstance(images, np.ndarray):
        is_one = images.ndim != 4
    else:
        is_one = isinstance(images, str | bytes) or not isinstance(images, Iterable)
    if is_one:
        raise InputError(
            f"images: expected a list of images, found one {type(images).__name__}; "
            "call segmenter(image) for a single image"
        )
    return images


def stacked(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Images [H, W, 3] of one size as [N, H, W, 3]; a single one is not copied."""
    return images[0][None] if len(images) == 1 else np.stack(images)


def group_by_size(sizes: Sequence[tuple[int, ...]], batch_size: int) -> list[list[int]]:
    """Indices of images that can share a run: equal sizes, at most `batch_size`, order kept.

    Groups come in the order of their first image.
    """
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, size in enumerate(sizes):
        by_size.setdefault(size, []).append(index)
    groups = [
        indices[start : start + batch_size]
        for indices in by_size.values()
        for start in range(0, len(indices), batch_size)
    ]
    return sorted(groups)
