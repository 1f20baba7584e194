"""What the measurement of each contender becomes in the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.files import sha256_of

from .harness import LoadedContender, Rounds
from .results import ContenderResult
from .statistics import count_outliers, speedup_over, summarise


def contender_rows(contenders: Sequence[LoadedContender], rounds: Rounds) -> list[ContenderResult]:
    """One row per contender.

    Args:
        contenders: all of them, eager first.
        rounds: times of those that passed the check, in the same order.
    """
    positions = iter(range(len(rounds.seconds)))
    return [
        _row(contender, _times(rounds, next(positions)) if contender.verdict.passed else {})
        for contender in contenders
    ]


def _row(contender: LoadedContender, times: Mapping[str, Any]) -> ContenderResult:
    info, warm, verdict = contender.worker.info, contender.warm_up, contender.verdict
    untimed: dict[str, Any] = {"latency": None, "speedup": None, "stable": None, "samples_ms": []}
    return ContenderResult(
        name=contender.name,
        format=info.format,
        precision=info.precision,
        provider=info.provider,
        placement=info.placement,
        sha256=sha256_of(info.path),
        size_bytes=info.path.stat().st_size,
        detections=[len(found) for found in contender.detections],
        parity=verdict.parity_dict(),
        accuracy=verdict.accuracy,
        gate=verdict.gate_dict(),
        judged_by=verdict.judged_by,
        reason=verdict.reason,
        passed=verdict.passed,
        load_ms=contender.worker.load_seconds * 1e3,
        first_call_ms=warm.first_call * 1e3,
        first_of_size_ms={f"{h}x{w}": value * 1e3 for (h, w), value in warm.first_of_size.items()},
        compile_ms=None if warm.compile is None else warm.compile * 1e3,
        peak_memory_bytes=warm.peak_memory,
        peak_rss_bytes=contender.peak_rss,
        **{**untimed, **times},
    )


def _times(rounds: Rounds, position: int) -> dict[str, Any]:
    """The fields of a row that come from the timed calls of the contender at `position`."""
    eager, seconds = rounds.seconds[0], rounds.seconds[position]
    device = None if rounds.device_seconds is None else rounds.device_seconds[position]
    return {
        "latency": summarise(seconds),
        "speedup": speedup_over(eager, seconds) if position > 0 else None,
        "stable": rounds.stable[position],
        "samples_ms": _milliseconds(seconds),
        "device_samples_ms": [] if device is None else _milliseconds(device),
        "outliers": count_outliers(seconds),
    }


def _milliseconds(seconds: NDArray[np.float64]) -> list[list[float]]:
    values: list[list[float]] = (seconds * 1e3).tolist()
    return values
