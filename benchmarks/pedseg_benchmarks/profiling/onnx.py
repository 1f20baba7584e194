"""onnxruntime's own profile of an artifact, node by node."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pedseg_runtime.artifact.manifest import INPUT_NAME, output_specs
from pedseg_runtime.artifact.reading import Artifact
from pedseg_runtime.backends import Resources
from pedseg_runtime.backends.sessions import run_options, start_session
from pedseg_runtime.devices import parse_device

from ..harness import Image
from .result import Node, with_shares
from .timing import Plan, Timed, timed_runs

KERNEL, RUN = "_kernel_time", "model_run"


def profile_onnx(
    artifact: Artifact,
    image: Image,
    *,
    device: str,
    threads: int | None,
    plan: Plan,
) -> tuple[list[Node], Timed, str]:
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
    options = run_options(place.index, provider, resources)
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
        shape=_shapes(arguments.get("output_type_shape", [])),
        provider=str(arguments.get("provider", "")).replace("ExecutionProvider", ""),
        calls=len(events) / runs,
        ms=sum(event["dur"] for event in events) / 1e3 / runs,
        share=0.0,
    )


def _shapes(outputs: Sequence[Mapping[str, Sequence[int]]]) -> str:
    """`float 1x256x200x272, int64 4`; a scalar is `float`."""
    return ", ".join(
        f"{kind} {'x'.join(map(str, shape))}".strip()
        for output in outputs
        for kind, shape in output.items()
    )
