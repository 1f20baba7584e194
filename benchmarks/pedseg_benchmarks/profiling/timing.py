"""Runs that are timed from outside while something else looks inside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """How to profile.

    Attributes:
        warmup: runs that do not count.
        runs: runs that do.
        trace: where to leave the raw profile.
    """

    warmup: int
    runs: int
    trace: Path


@dataclass(frozen=True, slots=True)
class Timed:
    """What a model did.

    Attributes:
        milliseconds: of every run that counts.
        detections: of the last run.
    """

    milliseconds: list[float]
    detections: int


def timed_runs(run: Callable[[], int], *, warmup: int, runs: int) -> Timed:
    """Call `run`, which returns the number of detections, and time all calls after `warmup`."""
    detections = 0
    for _ in range(warmup):
        detections = run()
    milliseconds = []
    for _ in range(runs):
        start = time.perf_counter()
        detections = run()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return Timed(milliseconds, detections)
