"""The end of a run: its best checkpoint on pictures that it has not learnt from."""

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


def look(folder: RunFolder, data: RunData, split: Split, device: torch.device) -> CocoResult:
    """Measure the best checkpoint on the test pictures, draw the panel and write the report.

    Where a split has no test pictures, those that chose the checkpoint are looked at.

    Args:
        folder: of the run; its best checkpoint is there.
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
