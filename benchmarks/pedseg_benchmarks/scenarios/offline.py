"""MLPerf's offline scenario: all images at hand, as many per second as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pedseg_runtime.console import progress_bar
from pedseg_runtime.errors import DeviceError, InputError

from ..contenders import Image
from ..harness import timed_call
from ..measuring import Entrant
from ..results import NotRun
from ..sections import Offline

BATCHES = (1, 2, 4, 8)


def offline(
    entrants: Sequence[Entrant],
    images: Sequence[Image],
    *,
    batches: Sequence[int] = BATCHES,
    calls: int,
) -> tuple[list[Offline], list[NotRun]]:
    """Throughput by batch size, contenders in turn within each size.

    Args:
        entrants: whose answers are right.
        images: those of the most frequent size make up the batches, as often as needed.
        batches: images per call.
        calls: timed calls per contender and batch size, after one that is not timed.

    Returns:
        One row per contender and batch size, and what a contender had no memory for.
    """
    if calls < 1 or any(batch < 1 for batch in batches):
        raise InputError(f"offline: expected positive numbers, found batches {list(batches)}")
    same = _of_one_size(images)
    rows: list[Offline] = []
    missing: list[NotRun] = []
    with progress_bar() as bar:
        task = bar.add_task("offline", total=len(entrants) * len(batches))
        for size in batches:
            batch = [same[index % len(same)] for index in range(size)]
            able = []
            for entrant in entrants:
                reason = _try(entrant, batch)
                if reason is None:
                    able.append(entrant)
                else:
                    missing.append(NotRun(f"{entrant.name}, batch {size}", reason))
            samples = _rounds(able, batch, calls)
            bar.advance(task, len(entrants))
            rows += [
                Offline(
                    contender=entrant.name,
                    batch=size,
                    images_per_second=size * calls / sum(own),
                    samples_ms=[1e3 * seconds for seconds in own],
                )
                for entrant, own in zip(able, samples, strict=True)
            ]
    return rows, missing


def _of_one_size(images: Sequence[Image]) -> list[Image]:
    sizes = [image.shape for image in images]
    most = max(sizes, key=sizes.count)
    return [image for image in images if image.shape == most]


def _try(entrant: Entrant, batch: list[Image]) -> str | None:
    """Warm up for the batch; the reason if the contender cannot take it."""
    most = entrant.seat.facts.max_batch
    if most is not None and len(batch) > most:
        return f"it takes {most} image(s) per call"
    try:
        entrant.seat.do(timed_call, batch)
    except DeviceError as error:
        return str(error)
    return None


def _rounds(able: Sequence[Entrant], batch: list[Image], calls: int) -> list[list[float]]:
    samples = np.empty((len(able), calls))
    for call in range(calls):
        for place in range(len(able)):
            index = (call + place) % len(able)
            samples[index, call] = able[index].seat.do(timed_call, batch).seconds
    return [[float(value) for value in own] for own in samples]
