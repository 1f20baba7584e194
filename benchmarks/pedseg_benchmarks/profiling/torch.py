"""torch's profile of a checkpoint, or of an artifact that torch runs, operator by operator."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from pedseg_runtime.files import replacing

from .result import Node, with_shares
from .timing import Plan, Timed, timed_runs


def profile_torch(run: Callable[[], int], *, provider: str, plan: Plan) -> tuple[list[Node], Timed]:
    """Profile something that calls torch.

    Args:
        run: runs the model once and returns the number of detections.
        provider: e.g. `torch:cpu` or `torch:cuda:0`.
        plan: how often to run it, and where to leave the raw trace.

    Returns:
        A row per operator and shapes of its inputs, with the time that it spent itself, on the GPU
        where there is one; and the times from outside.
    """
    # The library beneath otherwise reports on standard error that a CPU is no GPU.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    is_cuda = "cuda" in provider
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * is_cuda]
    timed_runs(run, warmup=plan.warmup, runs=0)
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        timed = timed_runs(run, warmup=0, runs=plan.runs)
    with replacing(plan.trace) as temporary:
        profiler.export_chrome_trace(str(temporary))
    field = "self_device_time_total" if is_cuda else "self_cpu_time_total"
    averages: Any = profiler.key_averages(group_by_input_shape=True)
    nodes = [
        Node(
            name=event.key,
            operator=event.key,
            shape=_shapes(event.input_shapes),
            provider=provider,
            calls=event.count / plan.runs,
            ms=getattr(event, field) / 1e3 / plan.runs,
            share=0.0,
        )
        for event in averages
        if getattr(event, field) > 0
    ]
    return with_shares(nodes), timed


def _shapes(inputs: list[Any]) -> str:
    """`1x3x800x1088, 64x3x7x7`, without what has no shape."""
    return ", ".join(
        "x".join(map(str, shape))
        for shape in inputs
        if shape and all(isinstance(size, int) for size in shape)
    )
