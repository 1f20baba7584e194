"""A benchmark as a Markdown document."""

from __future__ import annotations

import re

from ..results import BenchmarkResult
from .section_tables import more
from .tables import Grid, contenders
from .wording import caption, conditions, correctness, headline, title, warnings

# What Markdown or the HTML inside it would read as something else than text.
SPECIAL = re.compile(r"([\\`*_<>|#&]|\](?=\())")


def markdown(result: BenchmarkResult) -> str:
    """The answer, the warnings, the tables and the conditions."""
    checks = [
        f"{row.name}: {correctness(row)}" for row in result.contenders if row.parity or row.gate
    ]
    parts = [
        f"# {escape(title(result))}",
        f"**{escape(headline(result))}**",
        "\n".join(f"> Warning: {escape(line)}\n>" for line in warnings(result)).removesuffix("\n>"),
        grid_table(contenders(result)),
        escape(caption(result)),
        listed(checks),
        *(section(grid) for grid in more(result)),
        "## Conditions",
        listed([*conditions(result), f"measured {result.created}"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(grid: Grid) -> str:
    """A grid under its heading, with its note."""
    parts = [f"## {escape(grid.title)}", grid_table(grid), escape(grid.note)]
    return "\n\n".join(part for part in parts if part)


def grid_table(grid: Grid) -> str:
    """A grid as a table of GitHub's Markdown."""
    rules = ["---" if index < grid.words else "---:" for index in range(len(grid.headings))]
    lines = [[escape(cell) for cell in row] for row in (grid.headings, *grid.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (lines[0], rules, *lines[1:]))


def listed(lines: list[str]) -> str:
    """A list of lines."""
    return "\n".join(f"- {escape(line)}" for line in lines)


def escape(text: str) -> str:
    """Text that shows as it is: on one line, nothing of it read as Markdown or HTML."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
