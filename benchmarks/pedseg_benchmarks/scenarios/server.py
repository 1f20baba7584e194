"""MLPerf's server scenario: requests arrive at random, with a bound on their latency.

Arrivals are a Poisson process. A request's latency counts from the moment it was due, not from when
the client came round to sending it, so that an overloaded machine cannot look better
by slowing down its own clients (coordinated omission).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import DeadlineError, InputError, QueueFullError
from pedseg_runtime.serving.batching import BatchingSegmenter, Predictor

from ..contenders import Image
from ..contenders.artifacts import Artifact
from ..harness import LoadedContender, timed_call
from ..results import NotRun
from ..scenario_results import Server
from ..workers import WorkerContext

STEPS = 5  # halvings of the interval that holds the highest rate
DOUBLINGS = 4
SETTLED = 10  # bounds that a trial has to last
BATCH = 8
NO_SERVER = "only artifacts in the runtime's Segmenter can be served in batches"


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a rate is tried.

    Attributes:
        bound_ms: what the 99th percentile of the latency must not exceed.
        arrivals: requests per trial, more where they would come in less than `SETTLED` bounds: the
            99th percentile of fewer than 100 is nearly the maximum.
        max_seconds: no trial is planned to take longer; it then has fewer arrivals.
        batch: most images per run.
        seed: of the arrivals; every rate gets the same ones, faster or slower.

    Raises:
        InputError: a number that is not positive, or trials too short for the bound.
    """

    bound_ms: float
    arrivals: int = 200
    max_seconds: float = 20.0
    batch: int = BATCH
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("bound_ms", "arrivals", "max_seconds", "batch"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: expected more than 0, found {getattr(self, name)}")
        if self.max_seconds < self._settled:
            raise InputError(
                f"trial seconds: expected at least {self._settled:g}, which is {SETTLED} times the "
                f"bound, found {self.max_seconds:g}; a shorter trial is over before a queue has "
                "built up"
            )

    @property
    def _settled(self) -> float:
        """Seconds after which an overloaded server is seen to be one."""
        return SETTLED * self.bound_ms / 1e3

    def schedule(self, rate: float) -> list[float]:
        """Seconds from the start at which requests are due, at least one."""
        seconds = min(self.max_seconds, max(self.arrivals / rate, self._settled))
        gaps = np.random.default_rng(self.seed).exponential(1 / rate, max(1, round(rate * seconds)))
        return [float(moment) for moment in np.cumsum(gaps)]


def server(
    contenders: Sequence[LoadedContender], images: Sequence[Image], load: Load
) -> tuple[list[Server], list[NotRun]]:
    """Search the highest rate that holds, for every artifact that the runtime's `Segmenter` runs.

    Args:
        contenders: that passed the correctness check.
        images: requests take them in turn.
        load: how a rate is tried.

    Returns:
        One row per rate that was tried, and the contenders that cannot serve.
    """
    rows: list[Server] = []
    able = [contender for contender in contenders if contender.worker.run(_can_serve)]
    others = [contender.name for contender in contenders if contender not in able]
    missing = [NotRun(f"server: {', '.join(others)}", NO_SERVER)] if others else []
    for contender in able:
        alone = contender.worker.run(timed_call, list(images[:1])).seconds
        together = contender.worker.run(timed_call, [images[0]] * load.batch).seconds / load.batch
        guess = 1.2 / min(alone, together)
        rows += highest_rate(
            lambda rate, contender=contender: contender.worker.run(  # type: ignore[misc]
                serve, contender.name, list(images), rate, load
            ),
            guess=guess,
        )
    return rows, missing


def highest_rate(
    measure: Callable[[float], Server], *, guess: float, steps: int = STEPS
) -> list[Server]:
    """Double a rate until it does not hold, then halve the interval that holds the highest.

    Args:
        measure: tries one rate.
        guess: requests per second that will hardly hold.
        steps: how often to halve.

    Returns:
        A row per rate, in the order they were tried; the highest that holds is the answer.
    """
    low, high = 0.0, guess
    rows = [measure(high)]
    while rows[-1].holds and len(rows) <= DOUBLINGS:
        low, high = high, 2 * high
        rows.append(measure(high))
    for _ in range(steps):
        rate = (low + high) / 2
        rows.append(measure(rate))
        low, high = (rate, high) if rows[-1].holds else (low, rate)
    return rows


def serve(
    context: WorkerContext, name: str, images: Sequence[Image], rate: float, load: Load
) -> Server:
    """Runs in a worker: one trial, with a queue and a thread of its own."""
    loaded = context.model
    if not isinstance(loaded, Artifact):
        raise InputError(f"{name}: expected an artifact in a Segmenter, found {loaded.format}")
    return serve_predictor(loaded.segmenter, name, images, rate, load)


def serve_predictor(
    predictor: Predictor, name: str, images: Sequence[Image], rate: float, load: Load
) -> Server:
    """Send requests at their due moments and wait for all answers."""
    due = load.schedule(rate)
    answered: dict[int, float] = {}
    waiting: list[Future[Detections]] = []
    shed = 0
    with BatchingSegmenter(predictor, max_batch_size=load.batch) as batching:
        start = time.perf_counter()
        for number, moment in enumerate(due):
            time.sleep(max(0.0, start + moment - time.perf_counter()))
            try:
                future = batching.submit(images[number % len(images)])
            except QueueFullError:
                shed += 1
                continue
            future.add_done_callback(
                lambda _done, number=number: answered.setdefault(  # type: ignore[misc]
                    number, time.perf_counter() - start
                )
            )
            waiting.append(future)
        for answer in waiting:
            try:
                answer.result()
            except DeadlineError:
                shed += 1
    latencies = [1e3 * (moment - due[number]) for number, moment in sorted(answered.items())]
    p50, p90, p99 = (float(value) for value in np.percentile(latencies, [50, 90, 99]))
    return Server(
        contender=name,
        rate=rate,
        arrivals=len(due),
        shed=shed,
        p50=p50,
        p90=p90,
        p99=p99,
        bound_ms=load.bound_ms,
        holds=p99 <= load.bound_ms and shed == 0,
        samples_ms=latencies,
    )


def _can_serve(context: WorkerContext) -> bool:
    return isinstance(context.model, Artifact)
