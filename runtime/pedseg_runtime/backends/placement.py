"""Which execution provider of onnxruntime runs which nodes of a graph.

A session that lists CUDA first may still run much of a graph on the CPU, node by node, without a
word. onnxruntime records where it put each node when it is asked to (`RECORD`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from . import Placement

RECORD = ("session.record_ep_graph_assignment_info", "1")
# Where nearly all of the time goes. One of them on the CPU is no GPU session.
HEAVY = frozenset({"Conv", "ConvTranspose"})


def read_placement(session: Any) -> Placement:
    """The nodes of each provider by operator, as onnxruntime divided the graph among them.

    Args:
        session: an InferenceSession that was started with `RECORD` among its options.

    Returns:
        Per provider name the number of nodes of each operator, most frequent first. Copies between
        devices are inserted later and are not counted.
    """
    counts: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = counts.setdefault(part.ep_name, Counter())
        operators.update(node.op_type for node in part.get_nodes())
    return {provider: dict(operators.most_common()) for provider, operators in counts.items()}


def misplaced(placement: Placement, wanted: str, allowed: frozenset[str]) -> str:
    """Why `placement` is no run on `wanted`, or nothing if it is one.

    Args:
        placement: of the session.
        wanted: the provider that was asked for.
        allowed: providers that may run convolutions beside it.
    """
    if not placement.get(wanted):
        return "it runs no node of the graph"
    for provider, operators in placement.items():
        heavy = {name: count for name, count in operators.items() if name in HEAVY}
        if heavy and provider not in allowed:
            nodes = ", ".join(f"{count} {name}" for name, count in heavy.items())
            return f"{provider} runs {nodes} of the graph"
    return ""
