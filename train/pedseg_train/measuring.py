"""Evaluation during training: distributed over processes, and interruptible."""

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


def make_evaluator(
    data: RunData,
    indices: Sequence[int],
    *,
    device: torch.device,
    processes: Processes,
    stop: StopRequest,
) -> Callable[[MaskRCNN], CocoResult]:
    """Make a function that evaluates a network on some images.

    Every process runs the network on its share, and all get the result over all images.

    Args:
        data: the dataset.
        indices: the images, each once.
        device: where the network runs.
        processes: that share the images.
        stop: interrupts between two images; the function then raises `StoppedError`.
    """
    own_indices = indices[processes.rank :: processes.world]
    truth = labelled(data.dataset, own_indices)

    def evaluate(model: MaskRCNN) -> CocoResult:
        segment = EagerSegmenter(
            model, class_names=data.class_names, device=str(device), paste=False
        )
        own: Recording | None = None
        # The others must learn that this process stops, or they would wait for its share.
        with contextlib.suppress(StoppedError):
            own = record(_unless_stopped(stop, segment), data.dataset, own_indices, truth=truth)
        shares = processes.gathered(own)
        if any(share is None for share in shares):
            raise StoppedError("stopped while evaluating")
        return processes.from_first(lambda: count(merge([s for s in shares if s is not None])))

    return evaluate


def _unless_stopped(
    stop: StopRequest, segment: EagerSegmenter
) -> Callable[[NDArray[np.uint8]], Detections]:
    def segment_unless_stopped(image: NDArray[np.uint8]) -> Detections:
        if stop:
            raise StoppedError("stopped while evaluating")
        return segment(image)

    return segment_unless_stopped
