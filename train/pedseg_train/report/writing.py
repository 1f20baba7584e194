"""Writing the page of a run, or of any model that was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pedseg_runtime.errors import TrainingError
from pedseg_runtime.files import replacing

from ..data import SegmentationDataset, Split
from ..evaluation.analysis import Analysis, analyse
from ..evaluation.bootstrap import RESAMPLES
from ..evaluation.recording import Recording
from ..run_folder import RunFolder
from .data_facts import PartFacts, data_facts
from .page import render
from .run_facts import RunFacts, Subject


def write_report(
    folder: RunFolder,
    *,
    dataset: SegmentationDataset,
    split: Split,
    recording: Recording,
    part: str = "test",
    provider: str = "",
    seconds: float | None = None,
    resamples: int = RESAMPLES,
) -> Path:
    """Write RUN/report.html, a page without any reference to the outside.

    Args:
        folder: of a run that has finished an epoch: its recipe and its metrics are read.
        dataset: all pictures, without transforms.
        split: of the run.
        recording: what the kept checkpoint found on the pictures of a part.
        part: the name of that part.
        provider: what ran the checkpoint, such as `torch:cpu`.
        seconds: that recording took.
        resamples: draws of the intervals; 0 leaves them out.

    Returns:
        The file.

    Raises:
        TrainingError: `folder` holds no run with a finished epoch.
    """
    path = folder.report
    parts = {field.name: getattr(split, field.name) for field in dataclasses.fields(split)}
    subject = Subject(
        title=folder.root.resolve().name,
        model=folder.best.name,
        part=part,
        provider=provider,
        seconds=seconds,
        run=RunFacts.read(folder),
    )
    analysis = analyse(recording, dataset.names, resamples=resamples)
    _write(path, subject, dataset, recording, analysis, data_facts(dataset, parts, recording))
    return path


def write_model_report(
    path: Path,
    *,
    model: Path,
    dataset: SegmentationDataset,
    recording: Recording,
    analysis: Analysis,
    facts: Mapping[str, Any],
) -> None:
    """Write a page of a model that was measured; with its run's, if it lies in a run's folder.

    Args:
        path: of the HTML file.
        model: a checkpoint, an artifact or COCO results.
        dataset: all pictures, without transforms.
        recording: what it found.
        analysis: of the recording.
        facts: `part`, `provider` and `seconds`, as `pedseg-eval` has them.
    """
    try:
        run: RunFacts | None = RunFacts.read(RunFolder(model.parent))
    except TrainingError:
        run = None
    subject = Subject(
        title=model.name,
        model=model.name,
        part=facts["part"],
        provider=facts["provider"],
        seconds=facts["seconds"],
        run=run,
    )
    seen: Sequence[int] = [image["id"] for image in recording.images]
    _write(
        path, subject, dataset, recording, analysis,
        data_facts(dataset, {subject.part: seen}, recording),
    )  # fmt: skip


def _write(
    path: Path,
    subject: Subject,
    dataset: SegmentationDataset,
    recording: Recording,
    analysis: Analysis,
    data: Mapping[str, PartFacts],
) -> None:
    html = render(subject, dataset=dataset, recording=recording, analysis=analysis, data=data)
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
