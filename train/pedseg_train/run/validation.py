"""Accuracy of a network in training after each epoch, and of the best checkpoint at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.detections import Detections

from ..checkpoint import load_checkpoint
from ..data import Split
from ..eager import EagerSegmenter
from ..engine import Processes, StoppedError, StopRequest
from ..evaluation import (
    CocoResult,
    Recording,
    count,
    labelled,
    merge,
    record,
)
from ..report import run_images, write_report
from ..run_folder import RunFolder
from .dataset import RunData


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


PANEL_IMAGES = 4


def final_evaluation(
    folder: RunFolder, data: RunData, split: Split, device: torch.device
) -> CocoResult:
    """Evaluate the best checkpoint on the test images, draw the panel and write the report.

    A split without test images is evaluated on its validation images.

    Args:
        folder: of the run, with its best checkpoint.
        data: the dataset.
        split: of the run.
        device: where the network runs.
    """
    segment = EagerSegmenter(
        load_checkpoint(folder.best).model,
        class_names=data.class_names,
        device=str(device),
        paste=False,
    )
    part, positions = ("test", split.test) if split.test else ("val", split.val)
    started = time.perf_counter()
    recording = record(segment, data.dataset, positions)
    seconds = time.perf_counter() - started
    run_images.save_panel(folder.panel, segment, data.dataset, positions[:PANEL_IMAGES])
    write_report(
        folder,
        dataset=data.dataset,
        split=split,
        recording=recording,
        part=part,
        provider=segment.provider,
        seconds=seconds,
    )
    return count(recording)
