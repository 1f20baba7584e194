"""A table in words."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Grid:
    """A table in words.

    Attributes:
        title: what it answers.
        headings: of the columns.
        rows: as many cells each as there are headings.
        words: so many columns from the left hold words, the others figures.
        note: what a reader needs to read it right; may be empty.
        bad: indices of rows that report a failure.
    """

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 1
    note: str = ""
    bad: frozenset[int] = frozenset()


def dense(grid: Grid) -> Grid:
    """The grid without the columns in which nobody has anything."""
    kept = [index for index in range(len(grid.headings)) if any(row[index] for row in grid.rows)]
    return replace(
        grid,
        headings=tuple(grid.headings[index] for index in kept),
        rows=[tuple(row[index] for index in kept) for row in grid.rows],
        words=sum(index < grid.words for index in kept),
    )
