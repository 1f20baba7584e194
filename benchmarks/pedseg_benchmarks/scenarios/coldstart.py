"""From the start of a process to its first answer: the runtime beside a service that has torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pedseg_runtime.errors import DeviceError

from ..contenders import EAGER, Image
from ..contenders.roster import Conditions
from ..measuring import Entrant
from ..sections import ColdStart

CHILD = "pedseg_benchmarks.scenarios.cold_child"
PROCESSES = 3
ARTIFACTS = ("onnx", "torchscript", "pt2")


def cold_start(
    entrants: Sequence[Entrant],
    image: Image,
    conditions: Conditions,
    *,
    processes: int = PROCESSES,
) -> list[ColdStart]:
    """Start every contender that a service could be made of in fresh processes, in turn.

    Files are in the operating system's cache: they were read before.

    Args:
        entrants: whose answers are right; eager and the artifacts are started.
        image: the first request.
        conditions: of the benchmark.
        processes: per contender.

    Raises:
        DeviceError: a process failed that had worked in the benchmark.
    """
    started = [entrant for entrant in entrants if _is_service(entrant)]
    rows = [ColdStart(entrant.name, [], [], []) for entrant in started]
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "image.npy"
        np.save(picture, image)
        for _ in range(processes):
            for entrant, row in zip(started, rows, strict=True):
                stamps = _start(entrant, picture, conditions)
                row.import_ms.append(stamps["import_ms"])
                row.load_ms.append(stamps["load_ms"])
                row.first_ms.append(stamps["first_ms"])
                if "peak_rss" in stamps:
                    row.peak_rss_bytes.append(int(stamps["peak_rss"]))
    return rows


def _is_service(entrant: Entrant) -> bool:
    facts = entrant.seat.facts
    if facts.provider.startswith("Tensorrt"):
        return False  # it would build its engines, which takes minutes
    return entrant.name == EAGER or facts.format in ARTIFACTS


def _start(entrant: Entrant, picture: Path, conditions: Conditions) -> dict[str, float]:
    """Times of one process, in milliseconds, and the most bytes it had resident if known."""
    order = {
        "kind": "eager" if entrant.name == EAGER else "artifact",
        "path": str(entrant.seat.facts.path),
        "device": conditions.device,
        "threads": conditions.threads,
        "settings": dict(conditions.settings),
        "image": str(picture),
    }
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-m", CHILD, json.dumps(order)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise DeviceError(
            f"{entrant.name}: expected a fresh process to answer as this one did, found exit code "
            f"{done.returncode}: {lines[-1]}; start it alone with pedseg-predict"
        )
    stamps = json.loads(done.stdout.strip().splitlines()[-1])
    moments = [start, stamps["imported"], stamps["loaded"], stamps["answered"]]
    spans = (1e3 * np.diff(moments)).tolist()
    times = dict(zip(("import_ms", "load_ms", "first_ms"), spans, strict=True))
    memory = stamps["peak_rss"]
    return times if memory is None else {**times, "peak_rss": memory}
