"""Options by which `pedseg-bench run` is asked for more than one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pedseg_runtime.errors import InputError

from ..questions import Questions
from ..scenarios.offline import BATCHES
from ..scenarios.server import Load

Function = TypeVar("Function", bound=Callable[..., Any])
POSITIVE = click.FloatRange(min=0, min_open=True)


def _batches(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected numbers such as 1,2,4,8, found {text!r}") from error
    if min(sizes) < 1:
        raise click.BadParameter(f"expected positive numbers, found {text!r}")
    return sizes


OPTIONS = (
    click.option("--offline", is_flag=True, help="Images per second by batch size."),
    click.option(
        "--batches",
        default=",".join(map(str, BATCHES)),
        show_default=True,
        callback=lambda _ctx, _parameter, text: _batches(text),
        help="Images per call for --offline.",
    ),
    click.option(
        "--server",
        is_flag=True,
        help="Highest rate of Poisson arrivals with p99 within --bound-ms.",
    ),
    click.option("--bound-ms", type=POSITIVE, help="For --server: most milliseconds at p99."),
    click.option(
        "--arrivals",
        type=click.IntRange(min=1),
        default=200,
        show_default=True,
        help="For --server: requests per rate that is tried.",
    ),
    click.option(
        "--trial-seconds",
        type=POSITIVE,
        default=20.0,
        show_default=True,
        help="For --server: longest trial; it then has fewer arrivals.",
    ),
    click.option(
        "--surface", is_flag=True, help="Latency over number of detections and image size."
    ),
    click.option(
        "--cold-start",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Start N processes per contender, each to its first answer.",
    ),
    click.option("--stages", is_flag=True, help="Decode, copy, graph, paste and encode apart."),
    click.option(
        "--limits", is_flag=True, help="Operations a second against what the machine can do."
    ),
    click.option(
        "--calls",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        help="Timed calls per batch size, surface point and stage.",
    ),
)


def asking(function: Function) -> Function:
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def read_questions(
    *,
    offline: bool,
    batches: tuple[int, ...],
    server: bool,
    bound_ms: float | None,
    arrivals: int,
    trial_seconds: float,
    surface: bool,
    cold_start: int,
    stages: bool,
    limits: bool,
    calls: int,
) -> Questions:
    """What the options ask for.

    Raises:
        InputError: --server without --bound-ms, or the other way round.
    """
    if server != (bound_ms is not None):
        raise InputError(
            "server: expected --server and --bound-ms together, found one of them; say how many "
            "milliseconds a request may take, e.g. --server --bound-ms 500"
        )
    load = None
    if bound_ms is not None:
        load = Load(bound_ms=bound_ms, arrivals=arrivals, max_seconds=trial_seconds)
    return Questions(
        batches=batches if offline else (),
        load=load,
        is_surface=surface,
        cold_starts=cold_start,
        is_staged=stages,
        is_limited=limits,
        calls=calls,
    )
