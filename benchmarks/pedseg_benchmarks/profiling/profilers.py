"""The libraries' own profiles: onnxruntime's by node, torch's by operator."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from pedseg_runtime.artifact.manifest import INPUT_NAME, output_specs
from pedseg_runtime.artifact.reading import Artifact
from pedseg_runtime.backends.base import Resources
from pedseg_runtime.backends.sessions import run_options, start_session
from pedseg_runtime.devices import parse_device
from pedseg_runtime.files import replacing

from ..contenders import Image
from .result import Node, ProfilePlan, TimedRuns, timed_runs, with_shares

KERNEL, RUN = "_kernel_time", "model_run"


def profile_onnx(
    artifact: Artifact,
    image: Image,
    *,
    device: str,
    threads: int | None,
    plan: ProfilePlan,
) -> tuple[list[Node], TimedRuns, str]:
    """Run an artifact in a session as a service has it, with onnxruntime's profile switched on.

    Args:
        artifact: an ONNX file.
        image: uint8 [H, W, 3] RGB.
        device: "cpu", "cuda", ...
        threads: for one run; None for onnxruntime's choice.
        plan: how often to run it, and where to leave the raw profile.

    Returns:
        The nodes, the times from outside with the number of detections, and the provider.
    """
    place = parse_device(device)
    resources = Resources(threads=threads, profile=plan.trace.with_suffix(""))
    session = start_session(artifact, place, resources)
    provider: str = session.get_providers()[0]
    options = run_options(place.index, provider, release=False)
    names = [spec["name"] for spec in output_specs(artifact.manifest.mask_format)]

    def run() -> int:
        return len(session.run(names, {INPUT_NAME: image[None]}, options)[0])

    try:
        timed = timed_runs(run, warmup=plan.warmup, runs=plan.runs)
    finally:
        # onnxruntime adds the time to the name.
        Path(session.end_profiling()).replace(plan.trace)
    events = json.loads(plan.trace.read_text(encoding="utf-8"))
    return read_events(events, warmup=plan.warmup), timed, provider


def read_events(events: Sequence[Mapping[str, Any]], *, warmup: int) -> list[Node]:
    """Every node's time per run, from the events of onnxruntime's profile.

    Args:
        events: of the whole life of the session, in any order.
        warmup: so many runs at the beginning do not count.
    """
    starts = sorted(event["ts"] for event in events if event["name"] == RUN)[warmup:]
    runs = max(len(starts), 1)
    since = starts[0] if starts else 0
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        name = str(event["name"])
        if event.get("cat") == "Node" and name.endswith(KERNEL) and event["ts"] >= since:
            groups.setdefault(name.removesuffix(KERNEL), []).append(event)
    return with_shares(_node(name, group, runs) for name, group in groups.items())


def _node(name: str, events: Sequence[Mapping[str, Any]], runs: int) -> Node:
    arguments = events[-1]["args"]
    return Node(
        name=name,
        operator=str(arguments["op_name"]),
        shape=_output_shapes(arguments.get("output_type_shape", [])),
        provider=str(arguments.get("provider", "")).replace("ExecutionProvider", ""),
        calls=len(events) / runs,
        ms=sum(event["dur"] for event in events) / 1e3 / runs,
        share=0.0,
    )


def _output_shapes(outputs: Sequence[Mapping[str, Sequence[int]]]) -> str:
    """`float 1x256x200x272, int64 4`; a scalar is `float`."""
    return ", ".join(
        f"{kind} {'x'.join(map(str, shape))}".strip()
        for output in outputs
        for kind, shape in output.items()
    )


def profile_torch(
    run: Callable[[], int], *, provider: str, plan: ProfilePlan
) -> tuple[list[Node], TimedRuns]:
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
            shape=_input_shapes(event.input_shapes),
            provider=provider,
            calls=event.count / plan.runs,
            ms=getattr(event, field) / 1e3 / plan.runs,
            share=0.0,
        )
        for event in averages
        if getattr(event, field) > 0
    ]
    return with_shares(nodes), timed


def _input_shapes(inputs: list[Any]) -> str:
    """`1x3x800x1088, 64x3x7x7`, without what has no shape."""
    return ", ".join(
        "x".join(map(str, shape))
        for shape in inputs
        if shape and all(isinstance(size, int) for size in shape)
    )
