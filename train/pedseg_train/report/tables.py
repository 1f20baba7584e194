"""The tables and figures of the page, as rows of text and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..evaluation.analysis import Analysis
from ..evaluation.bootstrap import KINDS
from ..evaluation.outcomes import FALSE_NEGATIVE_REASONS, FALSE_POSITIVE_REASONS
from ..evaluation.result import NUMBERS, format_metric
from .facts import PartFacts, RunFacts, Subject

MEANING_OF_NUMBERS = {
    "AP": "mean over overlaps of 0.50 to 0.95",
    "AP50": "overlap of at least 0.50",
    "AP75": "overlap of at least 0.75",
    "APs": "small: below 32² pixels",
    "APm": "medium: 32² to 96² pixels",
    "APl": "large: above 96² pixels",
    "AR1": "recall with one detection per image",
    "AR10": "recall with ten",
    "AR100": "recall with a hundred",
    "ARs": "recall, small",
    "ARm": "recall, medium",
    "ARl": "recall, large",
}


def tiles(
    subject: Subject, analysis: Analysis, data: Mapping[str, PartFacts]
) -> list[tuple[str, str, str]]:
    """Figure, what it is, and a remark."""
    errors = analysis.errors("segm")
    false_alarms = sum(errors["false_alarms"].values())
    result = analysis.result
    tiles = [
        (format_metric(result.segm["AP"]), "mask AP", _interval(analysis, "segm")),
        (format_metric(result.bbox["AP"]), "box AP", _interval(analysis, "bbox")),
        (
            f"{errors['matched']} / {errors['people']}",
            f"{analysis.instance_noun} found",
            f"at a score of {analysis.score:g}",
        ),
        (
            f"{false_alarms / max(1, result.images):.2f}",
            "false alarms per image",
            f"{false_alarms} in all",
        ),
    ]
    if subject.run is not None:
        run = subject.run
        rate = training_rate(run, data)
        tiles.append(
            (
                _duration(run.seconds),
                f"for {len(run.history)} epochs",
                f"{rate:.1f} images/s in training" if rate else "",
            )
        )
    return tiles


def numbers(analysis: Analysis) -> list[dict[str, str]]:
    """COCO's twelve numbers: name, meaning, and value and interval by kind."""
    return [
        {
            "name": name,
            "meaning": MEANING_OF_NUMBERS[name],
            **{kind: format_metric(getattr(analysis.result, kind)[name]) for kind in KINDS},
            **{f"{kind}_interval": _interval(analysis, kind, name) for kind in KINDS},
        }
        for name in NUMBERS
    ]


def classes(analysis: Analysis) -> list[dict[str, Any]]:
    """Name, instances and numbers of every class; none where there is one class."""
    return [
        {
            "name": name,
            "instances": numbers["instances"],
            "cells": [
                format_metric(numbers[kind][n]) for kind in KINDS for n in ("AP", "AP50", "AP75")
            ],
        }
        for name, numbers in analysis.result.classes.items()
    ]


def errors(analysis: Analysis) -> list[tuple[str, str, str, int, int]]:
    """Kind of error, reason, meaning, how many by masks and by boxes."""
    by_kind = {kind: analysis.errors(kind) for kind in KINDS}
    rows = []
    for title, key, meanings in (
        ("missed", "missed", FALSE_NEGATIVE_REASONS),
        ("false alarm", "false_alarms", FALSE_POSITIVE_REASONS),
    ):
        for reason, meaning in meanings.items():
            masks, boxes = (by_kind[kind][key][str(reason)] for kind in ("segm", "bbox"))
            if analysis.result.classes or "class" not in reason:
                rows.append((title, str(reason), meaning, masks, boxes))
    return rows


def commonest(analysis: Analysis) -> str:
    """What to look at first, in a sentence; empty if there is no error."""
    rows = errors(analysis)
    title, reason, meaning, count, _ = max(rows, key=lambda row: row[3])
    if not count:
        return ""
    total = sum(row[3] for row in rows if row[0] == title)
    plural = {"missed": "misses", "false alarm": "false alarms"}[title]
    return f"The commonest error is “{title}: {reason}” ({count} of {total} {plural}): {meaning}."


def settings(run: RunFacts | None) -> list[tuple[str, str, bool]]:
    """Name, value, and whether the run has another than its preset."""
    if run is None:
        return []
    rows = [(name, _value(value), name in run.overridden) for name, value in run.recipe.items()]
    return sorted(rows, key=lambda row: not row[2])


def times(
    subject: Subject, analysis: Analysis, data: Mapping[str, PartFacts]
) -> list[tuple[str, str]]:
    """What took how long, and what ran it."""
    rows = []
    run = subject.run
    if run is not None:
        measuring = sum(record["evaluation_seconds"] for record in run.history)
        rows += [
            ("training, all epochs", _duration(run.seconds - measuring)),
            ("measuring after the epochs", _duration(measuring)),
        ]
        rate = training_rate(run, data)
        if rate:
            rows.append(("images per second in training", f"{rate:.2f}"))
    if subject.seconds:
        rate = analysis.result.images / subject.seconds
        rows.append(("images per second in measuring", f"{rate:.2f}"))
    if subject.provider:
        rows.append(("measured by", subject.provider))
    return rows


def training_rate(run: RunFacts, data: Mapping[str, PartFacts]) -> float | None:
    """Images per second; of the records where they have it, else of the training images."""
    rates = [record["images_per_second"] for record in run.history if "images_per_second" in record]
    if rates:
        return float(sum(rates) / len(rates))
    return run.images_per_second(data["train"].images) if "train" in data else None


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
    """A setting for a reader."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "not set" if value is None else str(value)
