"""Accuracy of a network in training: spread over processes, and to be interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.detections import Detections

from .eager import EagerSegmenter
from .engine import Processes, StoppedError, StopRequest
from .evaluation import CocoResult, Recording, count, labelled, merge, record
from .run_data import RunData


def measuring(
    data: RunData,
    indices: Sequence[int],
    *,
    device: torch.device,
    processes: Processes,
    stop: StopRequest,
) -> Callable[[MaskRCNN], CocoResult]:
    """A function that measures a network on some pictures.

    Every process runs the network on its share; all of them get the result of all pictures.

    Args:
        data: the dataset.
        indices: the pictures, each once.
        device: where the network runs.
        processes: that measure together.
        stop: ends the measuring between two pictures; the function raises `StoppedError`.
    """
    mine_of_all = indices[processes.rank :: processes.world]
    truth = labelled(data.dataset, mine_of_all)

    def measure(model: MaskRCNN) -> CocoResult:
        segment = EagerSegmenter(
            model, class_names=data.class_names, device=str(device), paste=False
        )
        mine: Recording | None = None
        # The others must learn that this process stops, or they would wait for its share.
        with contextlib.suppress(StoppedError):
            mine = record(_until(stop, segment), data.dataset, mine_of_all, truth=truth)
        shares = processes.gathered(mine)
        if any(share is None for share in shares):
            raise StoppedError("stopped while measuring")
        return processes.from_first(lambda: count(merge([s for s in shares if s is not None])))

    return measure


def _until(stop: StopRequest, segment: EagerSegmenter) -> Callable[[NDArray[np.uint8]], Detections]:
    def segment_unless_stopped(image: NDArray[np.uint8]) -> Detections:
        if stop:
            raise StoppedError("stopped while measuring")
        return segment(image)

    return segment_unless_stopped
