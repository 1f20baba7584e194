"""The final evaluation of a run: its best checkpoint on held-out images."""

from __future__ import annotations

import time

import torch

from . import pictures
from .checkpoint import load_checkpoint
from .data import Split
from .eager import EagerSegmenter
from .evaluation import CocoResult, count, record
from .report import write_report
from .run_data import RunData
from .run_folder import RunFolder

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
    pictures.save_panel(folder.panel, segment, data.dataset, positions[:PANEL_IMAGES])
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
