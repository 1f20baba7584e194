"""A comparison of two benchmarks for people."""

from __future__ import annotations

from ..comparison import Comparison, Row
from ..comparison.compare import RELATIVE, RULER
from ..statistics import Change
from .markdown import escape, listed, section
from .tables import Grid, grid
from .wording import milliseconds

RULER_VERSIONS = ("versions.torch", "versions.torchvision", "file of eager", "checkpoint_sha256")


def comparison_grid(found: Comparison) -> Grid:
    """A row per contender, the verdict beside its name."""
    is_relative = found.judged_by == RELATIVE
    return grid(
        "New against old: how many times as long",
        found.rows,
        {
            "contender": lambda row: row.contender,
            "verdict": lambda row: row.verdict,
            "relative to eager" + " (judged)" * is_relative: lambda row: _change(row.relative),
            "absolute" + " (judged)" * (not is_relative): lambda row: _change(row.absolute),
            "old p50 ms": lambda row: "" if row.old_ms is None else milliseconds(row.old_ms),
            "new p50 ms": lambda row: "" if row.new_ms is None else milliseconds(row.new_ms),
        },
        words=2,
        note="Geometric mean over images of the ratio of medians, with a 95 % bootstrap interval "
        "over rounds; above 1 is slower. A regression is an interval that lies wholly above "
        f"{1 + found.threshold:g}.",
        bad=lambda row: row.regression,
    )


def answer(found: Comparison) -> str:
    """The verdict in one sentence."""
    worse = [_named(row) for row in found.rows if row.regression]
    if worse:
        return f"Worse than before: {', '.join(worse)}."
    better = [row.contender for row in found.rows if row.verdict == "faster"]
    more = f" Faster: {', '.join(better)}." if better else ""
    return f"No regression beyond {100 * found.threshold:g} %.{more}"


def remarks(found: Comparison) -> list[str]:
    """What a reader must know: the machine, other differences, who is missing or failed."""
    lines = [*_machine(found)]
    lines += [f"{row.contender}: {row.verdict}, {row.reason}" for row in found.rows if row.reason]
    lines += [
        f"{'differs decisively' if difference.decisive else 'differs'}: {difference}"
        for difference in found.differences
    ]
    if found.judged_by == RELATIVE and any(d.what in RULER_VERSIONS for d in found.differences):
        lines.append(
            "eager itself may have changed with these: a ratio to it then mixes two changes; see "
            "the absolute one, or judge by it with --judge-by absolute"
        )
    return lines


def comparison_markdown(found: Comparison) -> str:
    """The comparison as a Markdown document, e.g. for a pull request."""
    parts = [
        "# Benchmark comparison",
        f"**{escape(answer(found))}**",
        section(comparison_grid(found)),
        listed(remarks(found)),
        escape(f"Old: {found.old}. New: {found.new}."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(found: Comparison) -> list[str]:
    """How the machine itself changed, seen on eager."""
    ruler = next((row for row in found.rows if row.verdict == RULER and row.absolute), None)
    if ruler is None:
        return []
    return [
        f"the machine: eager takes {_change(ruler.absolute)} times as long as before, which is "
        "taken out of the ratios relative to it"
    ]


def _change(change: Change | None) -> str:
    return f"{change.ratio:.3f} [{change.low:.3f}, {change.high:.3f}]" if change else ""


def _named(row: Row) -> str:
    if row.verdict == "slower":
        change = row.relative or row.absolute
        assert change is not None
        return f"{row.contender} ({change.ratio:.2f} times as long)"
    return f"{row.contender} ({row.verdict})"
