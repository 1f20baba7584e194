"""A profile for people: the most expensive nodes, and all of them by operator."""

from __future__ import annotations

from ..profiling import Profile
from .tables import Grid, grid
from .wording import milliseconds

LONGEST_NAME, LONGEST_SHAPE = 44, 40
MOST_OPERATORS = 12


def profile_grids(found: Profile, *, top: int) -> list[Grid]:
    """The `top` nodes and the totals by operator."""
    nodes = grid(
        f"The {min(top, len(found.nodes))} most expensive of {len(found.nodes)} nodes",
        found.nodes[:top],
        {
            "node": lambda n: _end(n.name, LONGEST_NAME) if n.name != n.operator else "",
            "operator": lambda node: node.operator,
            found.shape_of: lambda node: _start(node.shape, LONGEST_SHAPE),
            "runs on": lambda node: node.provider,
            "calls": lambda node: f"{node.calls:g}",
            "ms": lambda node: milliseconds(node.ms),
            "share": lambda node: f"{node.share:.1%}",
        },
        words=4,
        note=found.note,
    )
    rest = found.operators[MOST_OPERATORS:]
    others = f"{len(rest)} more operators: {milliseconds(sum(total.ms for total in rest))} ms."
    operators = grid(
        "By operator",
        found.operators[:MOST_OPERATORS],
        {
            "operator": lambda total: total.operator,
            "runs on": lambda total: total.provider,
            "calls": lambda total: f"{total.calls:g}",
            "ms": lambda total: milliseconds(total.ms),
            "share": lambda total: f"{total.share:.1%}",
        },
        words=2,
        note=others if rest else "",
    )
    return [nodes, operators]


def profile_caption(found: Profile) -> str:
    """What was profiled and what the times are."""
    return (
        f"{found.source} on {found.provider} by {found.library}, one {found.height}x{found.width} "
        f"image with {found.detections} detections, mean of {found.runs} runs: "
        f"{milliseconds(found.nodes_ms)} ms in nodes, {milliseconds(found.wall_ms)} ms in all "
        "while profiled"
    )


def _end(text: str, most: int) -> str:
    """The end of a long name, where names of graphs differ."""
    return text if len(text) <= most else f"...{text[3 - most :]}"


def _start(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
