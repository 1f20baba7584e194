"""A profile for people: the most expensive nodes, and all of them by operator."""

from __future__ import annotations

from ..profiling import Profile
from .grids import Grid
from .wording import milliseconds

LONGEST_NAME, LONGEST_SHAPE = 44, 40
MOST_OPERATORS = 12


def profile_grids(found: Profile, *, top: int) -> list[Grid]:
    """The `top` nodes and the totals by operator."""
    nodes = Grid(
        title=f"The {min(top, len(found.nodes))} most expensive of {len(found.nodes)} nodes",
        headings=("node", "operator", found.shape_of, "runs on", "calls", "ms", "share"),
        rows=[
            (
                _end(node.name, LONGEST_NAME) if node.name != node.operator else "",
                node.operator,
                _start(node.shape, LONGEST_SHAPE),
                node.provider,
                f"{node.calls:g}",
                milliseconds(node.ms),
                f"{node.share:.1%}",
            )
            for node in found.nodes[:top]
        ],
        words=4,
        note=found.note,
    )
    rest = found.operators[MOST_OPERATORS:]
    operators = Grid(
        title="By operator",
        headings=("operator", "runs on", "calls", "ms", "share"),
        rows=[
            (
                total.operator,
                total.provider,
                f"{total.calls:g}",
                milliseconds(total.ms),
                f"{total.share:.1%}",
            )
            for total in found.operators[:MOST_OPERATORS]
        ],
        words=2,
        note=f"{len(rest)} more operators: {milliseconds(sum(total.ms for total in rest))} ms."
        if rest
        else "",
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
