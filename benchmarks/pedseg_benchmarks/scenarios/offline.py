"""MLPerf's offline scenario: all images at hand, as many per second as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pedseg_runtime.console import progress_bar
from pedseg_runtime.errors import DeviceError, InputError

from ..contenders import Image
from ..harness import LoadedContender, timed_call
from ..results import NotRun
from ..scenario_results import Offline

BATCHES = (1, 2, 4, 8)


def offline(
    contenders: Sequence[LoadedContender],
    images: Sequence[Image],
    *,
    batches: Sequence[int] = BATCHES,
    calls: int,
) -> tuple[list[Offline], list[NotRun]]:
    """Throughput by batch size, contenders in turn within each size.

    Args:
        contenders: that passed the correctness check.
        images: those of the most frequent size make up the batches, as often as needed.
        batches: images per call.
        calls: timed calls per contender and batch size, after one that is not timed.

    Returns:
        One row per contender and batch size, and the batches that a contender cannot take.
    """
    if calls < 1 or any(batch < 1 for batch in batches):
        raise InputError(f"offline: expected positive numbers, found batches {list(batches)}")
    same = _of_one_size(images)
    rows: list[Offline] = []
    missing: list[NotRun] = []
    with progress_bar() as bar:
        task = bar.add_task("offline", total=len(contenders) * len(batches))
        for size in batches:
            batch = [same[index % len(same)] for index in range(size)]
            able = []
            for contender in contenders:
                reason = _try(contender, batch)
                if reason is None:
                    able.append(contender)
                else:
                    missing.append(NotRun(f"{contender.name}, batch {size}", reason))
            samples = _rounds(able, batch, calls)
            bar.advance(task, len(contenders))
            rows += [
                Offline(
                    contender=contender.name,
                    batch=size,
                    images_per_second=size * calls / sum(own),
                    samples_ms=[1e3 * seconds for seconds in own],
                )
                for contender, own in zip(able, samples, strict=True)
            ]
    return rows, missing


def _of_one_size(images: Sequence[Image]) -> list[Image]:
    sizes = [image.shape for image in images]
    most = max(sizes, key=sizes.count)
    return [image for image in images if image.shape == most]


def _try(contender: LoadedContender, batch: list[Image]) -> str | None:
    """Warm up for the batch; the reason if the contender cannot take it."""
    most = contender.worker.info.max_batch
    if most is not None and len(batch) > most:
        return f"it takes {most} image(s) per call"
    try:
        contender.worker.run(timed_call, batch)
    except DeviceError as error:
        return str(error)
    return None


def _rounds(able: Sequence[LoadedContender], batch: list[Image], calls: int) -> list[list[float]]:
    samples = np.empty((len(able), calls))
    for call in range(calls):
        for offset in range(len(able)):
            index = (call + offset) % len(able)
            samples[index, call] = able[index].worker.run(timed_call, batch).seconds
    return [[float(value) for value in own] for own in samples]
