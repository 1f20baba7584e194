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
from ..contenders.registry import Conditions
from ..harness import LoadedContender
from ..scenario_results import ColdStart

CHILD = "pedseg_benchmarks.scenarios.cold_start_process"
PROCESSES = 3
ARTIFACTS = ("onnx", "torchscript", "pt2")


def cold_start(
    contenders: Sequence[LoadedContender],
    image: Image,
    conditions: Conditions,
    *,
    processes: int = PROCESSES,
) -> list[ColdStart]:
    """Start every contender that a service could run in fresh processes, in turn.

    Files are in the operating system's cache: they were read before.

    Args:
        contenders: that passed the correctness check; eager and the artifacts are started.
        image: the first request.
        conditions: of the benchmark.
        processes: per contender.

    Raises:
        DeviceError: a process failed that had worked in the benchmark.
    """
    started = [contender for contender in contenders if _is_service(contender)]
    rows = [ColdStart(contender.name, [], [], []) for contender in started]
    with tempfile.TemporaryDirectory() as folder:
        image_file = Path(folder) / "image.npy"
        np.save(image_file, image)
        for _ in range(processes):
            for contender, row in zip(started, rows, strict=True):
                stamps = _start(contender, image_file, conditions)
                row.import_ms.append(stamps["import_ms"])
                row.load_ms.append(stamps["load_ms"])
                row.first_ms.append(stamps["first_ms"])
                if "peak_rss" in stamps:
                    row.peak_rss_bytes.append(int(stamps["peak_rss"]))
    return rows


def _is_service(contender: LoadedContender) -> bool:
    facts = contender.worker.info
    if facts.provider.startswith("Tensorrt"):
        return False  # it would build its engines, which takes minutes
    return contender.name == EAGER or facts.format in ARTIFACTS


def _start(contender: LoadedContender, file: Path, conditions: Conditions) -> dict[str, float]:
    """Times of one process, in milliseconds, and the most bytes it had resident if known."""
    order = {
        "kind": "eager" if contender.name == EAGER else "artifact",
        "path": str(contender.worker.info.path),
        "device": conditions.device,
        "threads": conditions.threads,
        "settings": dict(conditions.settings),
        "image": str(file),
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
            f"{contender.name}: expected a fresh process to answer as this one did, found exit "
            f"code {done.returncode}: {lines[-1]}; start it alone with pedseg-predict"
        )
    stamps = json.loads(done.stdout.strip().splitlines()[-1])
    moments = [start, stamps["imported"], stamps["loaded"], stamps["answered"]]
    spans = (1e3 * np.diff(moments)).tolist()
    times = dict(zip(("import_ms", "load_ms", "first_ms"), spans, strict=True))
    memory = stamps["peak_rss"]
    return times if memory is None else {**times, "peak_rss": memory}
