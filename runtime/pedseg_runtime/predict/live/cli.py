"""The part of `pedseg-predict` that follows a live source until it is stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from ... import console
from ...console import notes
from ...segmenter import Segmenter
from ...text import pluralize
from .segment import LivePrediction, predict_live

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def run_live(
    segmenter: Segmenter,
    source: str,
    *,
    output: Path,
    facts: Mapping[str, Any],
    as_json: bool,
    formats: Collection[str],
    **options: Any,
) -> None:
    """Follow a source until Ctrl-C, SIGTERM or its end, then print what was done.

    Args:
        segmenter: a loaded artifact.
        source: see `predict_live`, as for formats and options.
        output: folder for the results.
        facts: what the summary in JSON says besides.
        as_json: print it as JSON.
        formats: what to write.
        options: for `predict_live`.

    Raises:
        click.exceptions.Exit: frames failed, or the source was lost for good.
    """
    with _stopped_by_signals() as stop, _counter() as (bar, task):
        prediction = predict_live(
            segmenter,
            source,
            output=output,
            formats=formats,
            stop=stop,
            on_frames=lambda done: bar.update(task, completed=done),
            on_note=lambda line: notes.print(line, markup=False),
            **options,
        )
    _print(prediction, {**facts, "provider": segmenter.provider}, as_json)
    if prediction.failed is not None:
        notes.print(f"failed: {prediction.failed}", markup=False)
        raise click.exceptions.Exit(1)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one acts as ever."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in _STOPPING}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(*_: object) -> None:
        stop.set()
        restore()

    if threading.current_thread() is not threading.main_thread():  # where Python takes no signals
        yield stop
        return
    for number in _STOPPING:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


@contextlib.contextmanager
def _counter() -> Iterator[tuple[Progress, Any]]:
    """How many frames and how long, on standard error if that is a terminal."""
    columns = (TextColumn("Segmented {task.completed} frames"), TimeElapsedColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        yield bar, bar.add_task("", total=None)


def _print(prediction: LivePrediction, facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        console.output.print_json(json.dumps({**facts, **prediction.to_dict()}), ensure_ascii=True)
        return
    places = ", ".join(str(path) for path in prediction.outputs.values())
    console.output.print(
        f"{pluralize(prediction.detections, 'detection')} on "
        f"{pluralize(prediction.segmented, 'frame')} of {prediction.source} in "
        f"{prediction.seconds:.1f} s ({facts['provider']}); {prediction.dropped} of "
        f"{pluralize(prediction.received, 'received frame')} dropped, "
        f"{pluralize(prediction.connections, 'connection')}; results in {places}",
        markup=False,
    )
