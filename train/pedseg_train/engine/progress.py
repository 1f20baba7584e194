"""How far an epoch has come, on standard error, where somebody watches a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pedseg_runtime.console import notes


@contextlib.contextmanager
def step_bar(
    description: str, *, total: int, done: int, shown: bool
) -> Iterator[Callable[[int], None]]:
    """A bar over the steps of an epoch, with pictures per second and time left.

    Args:
        description: in front of the bar.
        total: steps of the epoch.
        done: steps that were finished before.
        shown: False for processes that do not speak.

    Yields:
        A function to call after each step with the number of its pictures.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=notes,
        transient=True,
        disable=not (shown and notes.is_terminal),
    )
    task = bar.add_task(description, total=total, completed=done, rate="")
    started, images = time.perf_counter(), 0

    def advance(step_images: int) -> None:
        nonlocal images
        images += step_images
        rate = images / (time.perf_counter() - started)
        bar.update(task, advance=1, rate=f"{rate:.1f} img/s")

    with bar:
        yield advance
