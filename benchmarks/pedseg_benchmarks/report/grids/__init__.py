"""The tables of a benchmark as rows of words, for every kind of report."""

from __future__ import annotations

from ...results import BenchmarkResult
from .contenders import contenders, files, placement, spread
from .grid import Grid, dense
from .limits import by_contender, limits
from .sections import POINTS, cold_start, cost, offline, server, stages, surface

__all__ = [
    "POINTS",
    "Grid",
    "about_contenders",
    "by_contender",
    "cold_start",
    "contenders",
    "cost",
    "limits",
    "more",
    "offline",
    "server",
    "stages",
    "surface",
]


def more(result: BenchmarkResult) -> list[Grid]:
    """The other tables; those about which nothing was measured are left out."""
    sections = result.sections
    found = [
        server(sections),
        offline(sections),
        cost(sections),
        surface(sections),
        stages(sections),
        cold_start(sections),
        limits(result),
    ]
    return [*(dense(grid) for grid in found if grid.rows), *about_contenders(result)]


def about_contenders(result: BenchmarkResult) -> list[Grid]:
    """Spread, placement and files, as far as they are known."""
    rows = result.contenders
    return [dense(grid) for grid in (spread(rows), placement(rows), files(rows)) if grid.rows]
