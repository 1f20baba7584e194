"""The page of a run, or of any model that was measured; `templates` holds how it looks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pedseg_runtime import __version__
from pedseg_runtime.errors import TrainingError
from pedseg_runtime.files import replacing

from ..data import SegmentationDataset, Split
from ..evaluation.analysis import Analysis, analyse
from ..evaluation.bootstrap import RESAMPLES
from ..evaluation.recording import Recording
from ..presentation.figures import Draw, Figure, svg
from ..presentation.page import render
from ..run_folder import RunFolder
from . import plots, tables
from .facts import PartFacts, RunFacts, Subject, data_facts, environment
from .gallery import choose, exhibit


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
        dataset: all images, without transforms.
        split: of the run.
        recording: what the kept checkpoint found on the images of a part.
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
        dataset: all images, without transforms.
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
    worst, best = choose(analysis.rows)
    html = render(
        __package__,
        "report.html.jinja",
        title=f"{subject.title}: {subject.part} report",
        subject=subject,
        analysis=analysis,
        answer=answer(subject, analysis),
        tiles=tables.tiles(subject, analysis, data),
        numbers=tables.numbers(analysis),
        classes=tables.classes(analysis),
        errors=tables.errors(analysis),
        commonest=tables.commonest(analysis),
        worst=exhibit(worst, dataset, recording, analysis),
        best=exhibit(best, dataset, recording, analysis),
        data=data,
        settings=tables.settings(subject.run),
        facts=[*tables.times(subject, analysis, data), *environment().items()],
        figures=_figures(subject.run, analysis, data),
        version=__version__,
        today=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def answer(subject: Subject, analysis: Analysis) -> str:
    """The page in one sentence."""
    errors = analysis.errors("segm")
    people, images = errors["people"], analysis.result.images
    if not people:
        return (
            f"Nothing is labelled on the {images} {subject.part} images: there is nothing to find."
        )
    false_alarms = sum(errors["false_alarms"].values())
    found = f"{errors['matched']} of {people} {analysis.instance_noun}"
    share = f"{100 * errors['matched'] / people:.0f} %"
    return (
        f"On {images} {subject.part} images it finds {found} ({share}) and raises "
        f"{false_alarms} false {'alarm' if false_alarms == 1 else 'alarms'} at a score of "
        f"{analysis.score:g}: mask AP {analysis.cell('segm', 'AP')}, box AP "
        f"{analysis.cell('bbox', 'AP')}."
    )


def _figures(
    run: RunFacts | None, analysis: Analysis, data: Mapping[str, PartFacts]
) -> dict[str, Figure]:
    """Every plot by name."""
    draws: dict[str, Draw] = {"errors by reason": partial(plots.draw_errors, analysis=analysis)}
    if any(facts.sizes for facts in data.values()):
        sizes = {part: facts.sizes for part, facts in data.items()}
        counts = {part: facts.counts for part, facts in data.items()}
        draws["size of the instances"] = partial(plots.draw_sizes, sizes=sizes)
        draws["instances per image"] = partial(plots.draw_crowding, counts=counts)
    if analysis.result.instances:
        draws["precision and recall"] = partial(plots.draw_precision_recall, analysis=analysis)
    if run is not None:
        draws["accuracy by epoch"] = partial(
            plots.draw_accuracy, history=run.history, best=run.best_epoch, analysis=analysis
        )
        draws["losses by epoch"] = partial(plots.draw_losses, history=run.history)
        draws["learning rate by epoch"] = partial(plots.draw_rate, history=run.history)
        draws["time by epoch"] = partial(plots.draw_time, history=run.history)
    return {name: Figure(svg(draw, label=name)) for name, draw in draws.items()}
