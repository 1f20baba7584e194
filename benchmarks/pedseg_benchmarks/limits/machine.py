"""What the machine itself reaches: large matrix products and plain copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from ..environment import torch_threads
from ..sections import Machine

# (rows, inner, columns): which shape suits a library best differs from machine to machine.
CPU_SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 1024, 1024))
CUDA_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 4096, 4096))
CPU_COPY_BYTES, CUDA_COPY_BYTES = 2**28, 2**31  # well beyond every cache
REPEATS = 15


def measure_machine(device: str, *, threads: int, repeats: int = REPEATS) -> Machine:
    """Measure matrix products and copies in float32.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads.
        repeats: timed runs of each kind, after two that are not.

    Returns:
        The rate of the shape with the best median, with that shape's samples, and the median
        bandwidth of a copy. TF32 is used only if the caller has it on.
    """
    place = torch.device(device)
    shapes = CPU_SHAPES if place.type == "cpu" else CUDA_SHAPES
    with torch.inference_mode(), torch_threads(threads):
        rates = [_products(place, shape, repeats) for shape in shapes]
        bandwidth = _copies(place, repeats)
    best = max(rates, key=median)
    return Machine(
        matmul_gflops=median(best), bandwidth_gb_per_s=median(bandwidth), samples_gflops=best
    )


def _products(place: torch.device, shape: tuple[int, int, int], repeats: int) -> list[float]:
    """10^9 operations per second of every timed product."""
    rows, inner, columns = shape
    left, right = torch.rand(rows, inner, device=place), torch.rand(inner, columns, device=place)
    out = torch.empty(rows, columns, device=place)
    seconds = _timed(lambda: torch.mm(left, right, out=out), place, repeats)
    return [2e-9 * rows * inner * columns / value for value in seconds]


def _copies(place: torch.device, repeats: int) -> list[float]:
    """10^9 bytes per second, read and written, of every timed copy."""
    count = CPU_COPY_BYTES if place.type == "cpu" else CUDA_COPY_BYTES
    source = torch.ones(count // 4, device=place)
    target = torch.empty_like(source)
    seconds = _timed(lambda: target.copy_(source), place, repeats)
    return [2e-9 * count / value for value in seconds]


def _timed(run: Callable[[], object], place: torch.device, repeats: int) -> list[float]:
    """Seconds of every run, from an idle device to an idle device."""
    synchronise = torch.cuda.synchronize if place.type == "cuda" else _nothing
    for _ in range(2):
        run()
    seconds = []
    for _ in range(repeats):
        synchronise()
        start = time.perf_counter()
        run()
        synchronise()
        seconds.append(time.perf_counter() - start)
    return seconds


def _nothing() -> None:
    """A CPU is done when the call returns."""
