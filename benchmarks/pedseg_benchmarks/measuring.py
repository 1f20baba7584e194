"""From contenders to rows: load, warm up and judge everyone, and only then take times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.console import progress_bar
from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DatasetError, PedsegError, first_line
from pedseg_runtime.files import sha256_of

from .contenders import Contender, Image, NotRunError
from .harness import Rounds, WarmUp, infer, run_rounds, warm_up
from .judging import Judge, Verdict
from .results import ContenderResult, Drift, NotRun
from .seats import Seat, peak_rss
from .stability import count_outliers, drift
from .statistics import speedup_over, summarise


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender that was loaded, warmed up and judged.

    Attributes:
        name: of the contender.
        seat: where it sits.
        warm: times of the first calls.
        detections: one entry per image.
        verdict: on its detections.
        rss: most bytes of its own process, None if it has none.
    """

    name: str
    seat: Seat
    warm: WarmUp
    detections: list[Detections]
    verdict: Verdict
    rss: int | None


def enter(
    contenders: Sequence[Contender],
    images: Sequence[Image],
    *,
    judge: Judge,
    warmup: int,
    take_seat: Callable[[Contender], Seat],
    stack: ExitStack,
) -> tuple[list[Entrant], list[NotRun]]:
    """Load, warm up and judge one contender after the other.

    Args:
        contenders: the reference (eager) first.
        images: uint8 [H, W, 3] RGB each.
        judge: that has judged nobody yet.
        warmup: calls per contender and image size before the timed ones.
        take_seat: loads a contender.
        stack: closes all of them at its end.

    Returns:
        Who came, and who could not be had.

    Raises:
        PedsegError: a contender that is not optional cannot be had.
    """
    entrants: list[Entrant] = []
    missing: list[NotRun] = []
    with progress_bar() as bar:
        for contender in bar.track(contenders, description="warm-up and verdict"):
            try:
                entrants.append(_enter(contender, images, judge, warmup, take_seat, stack))
            except DatasetError:
                raise
            except Exception as error:  # an optional contender may fail in any way it can
                if not contender.optional:
                    raise
                missing.append(NotRun(contender.name, _in_one_line(error)))
    return entrants, missing


def _enter(
    contender: Contender,
    images: Sequence[Image],
    judge: Judge,
    warmup: int,
    take_seat: Callable[[Contender], Seat],
    stack: ExitStack,
) -> Entrant:
    with ExitStack() as own:
        seat = take_seat(contender)
        own.callback(seat.close)
        warm = seat.do(warm_up, images, warmup)
        found = [seat.do(infer, [image])[0] for image in images]
        verdict = judge(contender.name, seat.facts.precision, found, partial(_one, seat))
        rss = seat.do(peak_rss) if seat.isolated else None
        stack.push(own.pop_all())
    return Entrant(contender.name, seat, warm, found, verdict, rss)


def time_entrants(
    entrants: Sequence[Entrant],
    images: Sequence[Image],
    *,
    rounds: int,
    stability: float | None = None,
    between: Callable[[], object] | None = None,
) -> tuple[list[ContenderResult], Drift | None]:
    """Time those who passed, and make a row of everyone.

    Args:
        entrants: eager first.
        images: those that they were judged on.
        rounds: most timed calls per contender and image.
        stability: see `run_rounds`.
        between: likewise.

    Returns:
        The rows, and how eager drifted over the rounds.
    """
    timed = [entrant for entrant in entrants if entrant.verdict.passed]
    with progress_bar() as bar:
        task = bar.add_task("timed calls", total=len(timed) * rounds * len(images))
        taken = run_rounds(
            [entrant.seat for entrant in timed],
            images,
            rounds=rounds,
            stability=stability,
            advance=lambda: bar.advance(task),
            between=between,
        )
    places = {entrant.name: place for place, entrant in enumerate(timed)}
    rows = [_row(entrant, places.get(entrant.name), taken) for entrant in entrants]
    return rows, drift(taken.seconds[0])


def _row(entrant: Entrant, place: int | None, taken: Rounds) -> ContenderResult:
    """One row of the report; `place` among those who were timed is None for who was not."""
    facts, warm, verdict = entrant.seat.facts, entrant.warm, entrant.verdict
    seconds = None if place is None else taken.seconds[place]
    device = None if place is None or taken.device_seconds is None else taken.device_seconds[place]
    speedup = None
    if seconds is not None and verdict.parity is not None:
        speedup = speedup_over(taken.seconds[0], seconds)
    return ContenderResult(
        name=entrant.name,
        format=facts.format,
        precision=facts.precision,
        provider=facts.provider,
        placement=facts.placement,
        sha256=sha256_of(facts.path),
        size_bytes=facts.path.stat().st_size,
        detections=[len(found) for found in entrant.detections],
        parity=verdict.parity_dict(),
        accuracy=verdict.accuracy,
        gate=verdict.gate_dict(),
        judged_by=verdict.judged_by,
        reason=verdict.reason,
        passed=verdict.passed,
        load_ms=entrant.seat.load_seconds * 1e3,
        first_call_ms=warm.first_call * 1e3,
        first_of_size_ms={f"{h}x{w}": value * 1e3 for (h, w), value in warm.first_of_size.items()},
        compile_ms=None if warm.compile is None else warm.compile * 1e3,
        peak_memory_bytes=warm.peak_memory,
        peak_rss_bytes=entrant.rss,
        latency=summarise(seconds) if seconds is not None else None,
        speedup=speedup,
        stable=None if place is None else taken.stable[place],
        samples_ms=_milliseconds(seconds),
        device_samples_ms=_milliseconds(device),
        outliers=None if seconds is None else count_outliers(seconds),
    )


def _milliseconds(seconds: NDArray[np.float64] | None) -> list[list[float]]:
    return [] if seconds is None else (seconds * 1e3).tolist()


def _one(seat: Seat, image: Image) -> Detections:
    return seat.do(infer, [image])[0]


def _in_one_line(error: Exception) -> str:
    """Why a contender cannot be had; errors made on purpose speak for themselves."""
    own = isinstance(error, NotRunError | PedsegError)
    return first_line(error) if own else f"{type(error).__name__}: {first_line(error)}"
