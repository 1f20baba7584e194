"""A profile as a value, and the runs that it is measured on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA, SCHEMA_VERSION = "pedseg-profile", 1


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph, or all calls of an operator on inputs of the same shapes.

    Attributes:
        name: in the graph; of torch, the operator's.
        operator: what it computes.
        shape: of its output (onnxruntime) or its inputs (torch), in words.
        provider: what ran it.
        calls: per run of the model.
        ms: per run of the model, without what it calls in turn.
        share: of the sum over all nodes, 0..1.
    """

    name: str
    operator: str
    shape: str
    provider: str
    calls: float
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class OperatorTotal:
    """All nodes of one operator by one provider; see `Node`."""

    operator: str
    provider: str
    calls: float
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of a model goes on one image.

    Attributes:
        source: file name of the checkpoint or artifact.
        library: what profiled it, with its version.
        provider: what really ran it.
        height, width: of the image.
        detections: found on it.
        runs: that the times are averages of.
        wall_ms: mean of a run from outside, while it was profiled; profiling itself takes time.
        nodes_ms: sum over all nodes, per run.
        shape_of: `output` or `inputs`: whose shapes `Node.shape` gives.
        note: what the reader must know of these times; may be empty.
        trace: file name of the raw trace, for chrome://tracing or ui.perfetto.dev.
        nodes: the most expensive first.
        operators: likewise, all nodes summed up.
    """

    source: str
    library: str
    provider: str
    height: int
    width: int
    detections: int
    runs: int
    wall_ms: float
    nodes_ms: float
    shape_of: str
    note: str
    trace: str
    nodes: list[Node]
    operators: list[OperatorTotal]

    def to_dict(self, *, top: int) -> dict[str, Any]:
        """Everything as JSON types, with the `top` most expensive nodes."""
        values = dataclasses.asdict(self) | {
            "nodes": list(map(dataclasses.asdict, self.nodes[:top]))
        }
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION} | values


def with_shares(nodes: Iterable[Node]) -> list[Node]:
    """The nodes, the most expensive first, each with its share of all."""
    ordered = sorted(nodes, key=lambda node: -node.ms)
    total = sum(node.ms for node in ordered) or 1.0
    return [dataclasses.replace(node, share=node.ms / total) for node in ordered]


def by_operator(nodes: Sequence[Node]) -> list[OperatorTotal]:
    """Totals per operator and provider, the most expensive first."""
    groups: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        groups.setdefault((node.operator, node.provider), []).append(node)
    totals = [
        OperatorTotal(
            operator,
            provider,
            calls=sum(node.calls for node in group),
            ms=sum(node.ms for node in group),
            share=sum(node.share for node in group),
        )
        for (operator, provider), group in groups.items()
    ]
    return sorted(totals, key=lambda total: -total.ms)


@dataclass(frozen=True, slots=True)
class ProfilePlan:
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
class TimedRuns:
    """Times and detections of a model.

    Attributes:
        milliseconds: of every run that counts.
        detections: of the last run.
    """

    milliseconds: list[float]
    detections: int


def timed_runs(run: Callable[[], int], *, warmup: int, runs: int) -> TimedRuns:
    """Call `run`, which returns the number of detections, and time all calls after `warmup`."""
    detections = 0
    for _ in range(warmup):
        detections = run()
    milliseconds = []
    for _ in range(runs):
        start = time.perf_counter()
        detections = run()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return TimedRuns(milliseconds, detections)
