"""What the page says, in which order; `templates` holds how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import jinja2
from markupsafe import Markup

from pedseg_runtime import __version__

from ..evaluation.analysis import Analysis
from ..evaluation.bootstrap import KINDS
from ..evaluation.outcomes import FALSE_ALARMS, MISSES
from ..evaluation.recording import Annotated, Recording
from ..evaluation.result import NUMBERS, shown
from . import plots
from .data_facts import PartFacts
from .environment import environment
from .gallery import choose, exhibit
from .run_facts import RunFacts
from .svg import svg_of

MEANING_OF_NUMBERS = {
    "AP": "mean over overlaps of 0.50 to 0.95",
    "AP50": "overlap of at least 0.50",
    "AP75": "overlap of at least 0.75",
    "APs": "small: below 32² pixels",
    "APm": "medium: 32² to 96² pixels",
    "APl": "large: above 96² pixels",
    "AR1": "recall with one detection per picture",
    "AR10": "recall with ten",
    "AR100": "recall with a hundred",
    "ARs": "recall, small",
    "ARm": "recall, medium",
    "ARl": "recall, large",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a page is about.

    Attributes:
        title: of the page: a run's or a file's name.
        model: the file that was measured.
        part: the pictures it was measured on.
        provider: what ran it; empty if unknown.
        seconds: that took; None if unknown.
        run: what trained it; None if unknown.
    """

    title: str
    model: str
    part: str
    provider: str
    seconds: float | None
    run: RunFacts | None


def render(
    subject: Subject,
    *,
    dataset: Annotated,
    recording: Recording,
    analysis: Analysis,
    data: Mapping[str, PartFacts],
) -> str:
    """The page as one HTML document; everything that came from outside is escaped."""
    environment_ = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    worst, best = choose(analysis.rows)
    return environment_.get_template("report.html.jinja").render(
        subject=subject,
        analysis=analysis,
        answer=answer(subject, analysis),
        tiles=_tiles(subject, analysis, data),
        numbers=_numbers(analysis),
        classes=_classes(analysis),
        errors=_errors(analysis),
        commonest=_commonest(analysis),
        worst=exhibit(worst, dataset, recording, analysis),
        best=exhibit(best, dataset, recording, analysis),
        data=data,
        settings=_settings(subject.run),
        times=_times(subject, analysis, data),
        environment=environment(),
        figures=_figures(subject.run, analysis, data),
        version=__version__,
        today=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )


def answer(subject: Subject, analysis: Analysis) -> str:
    """The page in one sentence."""
    errors = analysis.errors("segm")
    people, pictures = errors["people"], analysis.result.images
    if not people:
        return f"Nobody is labelled on the {pictures} {subject.part} pictures: nothing to measure."
    false_alarms = sum(errors["false_alarms"].values())
    found = f"{errors['matched']} of {people} {analysis.things}"
    share = f"{100 * errors['matched'] / people:.0f} %"
    return (
        f"On {pictures} {subject.part} pictures it finds {found} ({share}) and raises "
        f"{false_alarms} false {'alarm' if false_alarms == 1 else 'alarms'} at a score of "
        f"{analysis.score:g}: mask AP {analysis.cell('segm', 'AP')}, box AP "
        f"{analysis.cell('bbox', 'AP')}."
    )


def _tiles(
    subject: Subject, analysis: Analysis, data: Mapping[str, PartFacts]
) -> list[tuple[str, str, str]]:
    """Figure, what it is, and a remark."""
    errors = analysis.errors("segm")
    false_alarms = sum(errors["false_alarms"].values())
    result = analysis.result
    tiles = [
        (shown(result.segm["AP"]), "mask AP", _interval(analysis, "segm")),
        (shown(result.bbox["AP"]), "box AP", _interval(analysis, "bbox")),
        (
            f"{errors['matched']} / {errors['people']}",
            f"{analysis.things} found",
            f"at a score of {analysis.score:g}",
        ),
        (
            f"{false_alarms / max(1, result.images):.2f}",
            "false alarms per picture",
            f"{false_alarms} in all",
        ),
    ]
    if subject.run is not None:
        run = subject.run
        rate = _training_rate(run, data)
        tiles.append(
            (
                _duration(run.seconds),
                f"for {len(run.history)} epochs",
                f"{rate:.1f} images/s in training" if rate else "",
            )
        )
    return tiles


def _numbers(analysis: Analysis) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "meaning": MEANING_OF_NUMBERS[name],
            **{kind: shown(getattr(analysis.result, kind)[name]) for kind in KINDS},
            **{f"{kind}_interval": _interval(analysis, kind, name) for kind in KINDS},
        }
        for name in NUMBERS
    ]


def _classes(analysis: Analysis) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "instances": numbers["instances"],
            "cells": [shown(numbers[kind][n]) for kind in KINDS for n in ("AP", "AP50", "AP75")],
        }
        for name, numbers in analysis.result.classes.items()
    ]


def _errors(analysis: Analysis) -> list[tuple[str, str, str, int, int]]:
    """Kind of error, reason, meaning, how many by masks and by boxes."""
    by_kind = {kind: analysis.errors(kind) for kind in KINDS}
    rows = []
    for title, key, meanings in (
        ("missed", "missed", MISSES),
        ("false alarm", "false_alarms", FALSE_ALARMS),
    ):
        for reason, meaning in meanings.items():
            masks, boxes = (by_kind[kind][key][str(reason)] for kind in ("segm", "bbox"))
            if analysis.result.classes or "class" not in reason:
                rows.append((title, str(reason), meaning, masks, boxes))
    return rows


def _commonest(analysis: Analysis) -> str:
    """What to look at first, in a sentence; empty if there is no error."""
    rows = _errors(analysis)
    title, reason, meaning, count, _ = max(rows, key=lambda row: row[3])
    if not count:
        return ""
    total = sum(row[3] for row in rows if row[0] == title)
    plural = {"missed": "misses", "false alarm": "false alarms"}[title]
    return f"The commonest error is “{title}: {reason}” ({count} of {total} {plural}): {meaning}."


def _settings(run: RunFacts | None) -> list[tuple[str, str, bool]]:
    """Name, value, and whether the run has another than its preset."""
    if run is None:
        return []
    rows = [(name, _value(value), name in run.overridden) for name, value in run.recipe.items()]
    return sorted(rows, key=lambda row: not row[2])


def _times(
    subject: Subject, analysis: Analysis, data: Mapping[str, PartFacts]
) -> list[tuple[str, str]]:
    rows = []
    run = subject.run
    if run is not None:
        measuring = sum(record["evaluation_seconds"] for record in run.history)
        rows += [
            ("training, all epochs", _duration(run.seconds - measuring)),
            ("measuring after the epochs", _duration(measuring)),
        ]
        rate = _training_rate(run, data)
        if rate:
            rows.append(("images per second in training", f"{rate:.2f}"))
    if subject.seconds:
        rate = analysis.result.images / subject.seconds
        rows.append(("images per second in measuring", f"{rate:.2f}"))
    if subject.provider:
        rows.append(("measured by", subject.provider))
    return rows


def _training_rate(run: RunFacts, data: Mapping[str, PartFacts]) -> float | None:
    """Images per second; of the records where they have it, else of the training pictures."""
    rates = [record["images_per_second"] for record in run.history if "images_per_second" in record]
    if rates:
        return float(sum(rates) / len(rates))
    return run.images_per_second(data["train"].pictures) if "train" in data else None


def _figures(
    run: RunFacts | None, analysis: Analysis, data: Mapping[str, PartFacts]
) -> dict[str, Markup]:
    """Every plot by name. The SVG is our own: text in it was escaped by matplotlib."""
    draws: dict[str, plots.Draw] = {
        "errors by reason": partial(plots.draw_errors, analysis=analysis),
    }
    if any(facts.sizes for facts in data.values()):
        sizes = {part: facts.sizes for part, facts in data.items()}
        counts = {part: facts.counts for part, facts in data.items()}
        draws["size of the instances"] = partial(plots.draw_sizes, sizes=sizes)
        draws["instances per picture"] = partial(plots.draw_crowding, counts=counts)
    if analysis.result.instances:
        draws["precision and recall"] = partial(plots.draw_precision_recall, analysis=analysis)
    if run is not None:
        draws["accuracy by epoch"] = partial(
            plots.draw_accuracy, history=run.history, best=run.best_epoch, analysis=analysis
        )
        draws["losses by epoch"] = partial(plots.draw_losses, history=run.history)
        draws["learning rate by epoch"] = partial(plots.draw_rate, history=run.history)
        draws["time by epoch"] = partial(plots.draw_time, history=run.history)
    return {name: Markup(svg_of(draw, name=name)) for name, draw in draws.items()}


def _interval(analysis: Analysis, kind: str, name: str = "AP") -> str:
    interval = analysis.intervals.get(kind, {}).get(name)
    if interval is None:
        return ""
    return f"{interval.low:.2f} to {interval.high:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return (
        {True: "yes", False: "no", None: "not set"}.get(value, str(value))
        if (value is None or isinstance(value, bool))
        else str(value)
    )
