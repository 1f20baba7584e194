"""The images of a benchmark: those that are timed, and labelled ones for AP."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pedseg_export.accuracy_gate import AccuracyGate
from pedseg_runtime.containers import memory_limit
from pedseg_runtime.errors import DeviceError, InputError
from pedseg_runtime.image_limits import check_resizable
from pedseg_runtime.images import find_images, read_image

from .results import NotRun


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """Labelled images that AP is measured on beside the times.

    Attributes:
        data: a dataset of any layout; the test images of the checkpoint's run, or of
            the tutorial's split, are used.
        limit: at most so many of them, evenly spaced; None for all.
        max_drop: points of AP (0..100) that a lower precision may lose.
        images: folder of a COCO file's images, if it is elsewhere.
    """

    data: Path
    limit: int | None = None
    max_drop: float = 0.5
    images: Path | None = None

    def open_gate(self, checkpoint: Path) -> AccuracyGate:
        """The AP gate of a checkpoint's artifacts, on the test images of its run.

        Raises:
            DatasetError: there are no labelled images to measure on.
        """
        gate = AccuracyGate.open(
            self.data, checkpoint=checkpoint, max_drop=self.max_drop, images=self.images
        )
        if self.limit is None or self.limit >= len(gate.indices):
            return gate
        chosen = [gate.indices[index] for index in _evenly(len(gate.indices), self.limit)]
        return dataclasses.replace(gate, indices=chosen)


def choose_images(images: Path, limit: int | None) -> list[Path]:
    """The image files to use: all of them, or `limit` evenly spaced ones in the order of names.

    Raises:
        InputError: there are none, or `limit` is not positive.
    """
    files = find_images(images)
    if limit is None or limit >= len(files):
        return files
    if limit < 1:
        raise InputError(f"limit: expected a positive number of images, found {limit}")
    return [files[index] for index in _evenly(len(files), limit)]


def read_images(
    files: Sequence[Path], *, min_size: int, max_size: int
) -> tuple[list[Path], list[NDArray[np.uint8]], list[NotRun]]:
    """Read images, and leave out those that no contender can run.

    Args:
        files: at least one.
        min_size: of the resize rule, see `resized_size`.
        max_size: of the resize rule.

    Returns:
        The files that could be read, their images uint8 [H, W, 3] RGB, and the others with reasons.

    Raises:
        InputError: none of them can be read.
    """
    kept: list[Path] = []
    images: list[NDArray[np.uint8]] = []
    left_out: list[NotRun] = []
    memory = memory_limit()
    for file in files:
        try:
            image = read_image(file)
            size = (image.shape[0], image.shape[1])
            check_resizable(str(file), size, min_size, max_size, memory=memory)
        except (DeviceError, InputError) as error:
            left_out.append(NotRun(file.name, str(error)))
        else:
            kept.append(file)
            images.append(image)
    if not kept:
        raise InputError(left_out[0].reason)
    return kept, images, left_out


def _evenly(count: int, limit: int) -> list[int]:
    return [int(position) for position in np.linspace(0, count - 1, limit).round()]
