"""A benchmark in a terminal: the main table, what belongs to it, and the smaller tables."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..results import BenchmarkResult
from .section_tables import POINTS, more
from .tables import Grid, contenders
from .wording import caption, correctness, headline, title, warnings

NARROWEST_WORDS = 12  # of a column of words, which may break over lines
# What a narrow terminal can do without, the least important first. Verdict, AP and ratio stay.
DISPENSABLE = ("found", "p90 ms", "runs on", "img/s", "p99 ms", "p50 ms", "AP box / mask", "sha256")
ROOMY = 1000


class Fitting:
    """A grid that leaves out columns until it fits, and says which: rich would cut them off."""

    def __init__(self, grid: Grid, *, title: str | None = None) -> None:
        self.title = title or grid.title
        self._grid = grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The widest choice of columns that fits."""
        left_out: list[str] = []
        dispensable = [name for name in DISPENSABLE if name in self._grid.headings]
        while True:
            view = _rich_table(self._grid, self.title, left_out)
            # Measured as if there were room: otherwise rich answers with the room there is.
            roomy = options.update(width=ROOMY)
            needed = Measurement.get(console, roomy, view).minimum
            if needed <= options.max_width or not dispensable:
                break
            left_out.append(dispensable.pop(0))
        yield view
        if left_out:
            note = f"no room for: {', '.join(left_out)}; widen the terminal, or write --markdown"
            yield Text(note, style="dim")


def table(result: BenchmarkResult) -> Fitting:
    """The main table; print it with `details` below."""
    return Fitting(contenders(result), title=title(result))


def details(result: BenchmarkResult) -> list[str]:
    """What belongs to the main table: the answer, the warnings, and every verdict in figures."""
    return [
        headline(result),
        *(f"warning: {line}" for line in warnings(result)),
        caption(result),
        *(
            f"{row.name}: {correctness(row)}"
            for row in result.contenders
            if row.passed and row.judged_by != "truth"
        ),
    ]


def sections(result: BenchmarkResult) -> list[Fitting]:
    """Everything else that was measured, a small table per question.

    The many points behind the cost model are left to the documents.
    """
    return [Fitting(grid) for grid in more(result) if grid.title != POINTS]


def _rich_table(grid: Grid, title: str, left_out: list[str]) -> Table:
    view = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        caption=Text(grid.note, style="dim") if grid.note else None,
        caption_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    kept = [index for index, heading in enumerate(grid.headings) if heading not in left_out]
    for index in kept:
        is_words = index < grid.words
        heading = grid.headings[index]
        widest = max(len(word) for word in (*heading.split(), *(row[index] for row in grid.rows)))
        view.add_column(
            Text(heading),
            justify="left" if is_words else "right",
            # Figures never break; their headings may.
            min_width=min(widest, NARROWEST_WORDS) if is_words else widest,
            overflow="fold",
        )
    for number, row in enumerate(grid.rows):
        style = "red" if number in grid.bad else ""
        view.add_row(*(Text(row[index], style=style) for index in kept))
    return view
