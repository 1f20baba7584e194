"""The tables of a benchmark as rows of words, for every kind of report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

from ..results import BenchmarkResult, ContenderResult
from ..statistics import LatencySummary
from .wording import accuracy, full_name, mebibytes, middle, milliseconds, ratio, runs_on, verdict

Item = TypeVar("Item")


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


def grid(
    title: str,
    items: Iterable[Item],
    columns: Mapping[str, Callable[[Item], str]],
    *,
    words: int = 1,
    note: str = "",
    bad: Callable[[Item], bool] = lambda _: False,
) -> Grid:
    """A row per item; `columns` has every heading with what stands below it."""
    rows = list(items)
    return Grid(
        title=title,
        headings=tuple(columns),
        rows=[tuple(cell(row) for cell in columns.values()) for row in rows],
        words=words,
        note=note,
        bad=frozenset(index for index, row in enumerate(rows) if bad(row)),
    )


def dense(grid: Grid) -> Grid:
    """The grid without the columns that are empty."""
    kept = [index for index in range(len(grid.headings)) if any(row[index] for row in grid.rows)]
    return replace(
        grid,
        headings=tuple(grid.headings[index] for index in kept),
        rows=[tuple(row[index] for index in kept) for row in grid.rows],
        words=sum(index < grid.words for index in kept),
    )


def contenders(result: BenchmarkResult) -> Grid:
    """The main table; a failed contender has no time in it, since a wrong answer has no speed."""

    def time(of: Callable[[LatencySummary], float]) -> Callable[[ContenderResult], str]:
        return lambda row: milliseconds(of(row.latency)) if row.latency else ""

    def p50(row: ContenderResult) -> str:
        if row.latency is None:
            return "failed" if not row.passed else "not timed"
        return milliseconds(row.latency.p50)

    def rate(row: ContenderResult) -> str:
        return f"{row.latency.images_per_second:.2f}" if row.latency else ""

    def times_eager(row: ContenderResult) -> str:
        return (ratio(row.speedup) if row.speedup else "1") if row.latency else ""

    rows = result.contenders
    has_ap = any(row.accuracy for row in rows)
    return grid(
        "Latency, one image per call",
        rows,
        {
            "contender": full_name,
            # Beside the name, so that no terminal is too narrow to show it.
            "verdict": verdict,
            "runs on": runs_on,
            "p50 ms": p50,
            "p90 ms": time(lambda latency: latency.p90),
            "p99 ms": time(lambda latency: latency.p99),
            "x eager": times_eager,
            "img/s": rate,
            **({"AP box / mask": accuracy} if has_ap else {}),
            "found": lambda row: str(sum(row.detections)),
        },
        words=3,
        bad=lambda row: not row.passed,
    )


def about_contenders(result: BenchmarkResult) -> list[Grid]:
    """Spread, placement and files, as far as they are known."""
    rows = result.contenders
    return [dense(grid) for grid in (spread(rows), placement(rows), files(rows)) if grid.rows]


def spread(rows: Iterable[ContenderResult]) -> Grid:
    """How far the timed calls lie apart, and by which clock."""
    timed = [(row, row.latency) for row in rows if row.latency]
    has_device = any(row.device_samples_ms for row, _ in timed)
    settled = {None: "", True: "yes", False: "NO"}
    device: Mapping[str, Callable[[tuple[ContenderResult, LatencySummary]], str]] = {
        "GPU's clock p50 ms": lambda pair: middle(list(chain(*pair[0].device_samples_ms)))
    }
    return grid(
        "Spread of the timed calls",
        timed,
        {
            "contender": lambda pair: full_name(pair[0]),
            "calls": lambda pair: str(pair[1].count),
            "min ms": lambda pair: milliseconds(pair[1].min),
            "mean ms": lambda pair: milliseconds(pair[1].mean),
            "std ms": lambda pair: milliseconds(pair[1].std),
            "max ms": lambda pair: milliseconds(pair[1].max),
            "outliers": lambda pair: "" if pair[0].outliers is None else str(pair[0].outliers),
            "settled": lambda pair: settled[pair[0].stable],
            **(device if has_device else {}),
        },
        note="Outliers stay in every figure. Settled: the last windows of rounds agreed.",
    )


def placement(rows: Iterable[ContenderResult]) -> Grid:
    """Which provider runs how many nodes."""
    known = [row for row in rows if row.placement]
    providers = list(dict.fromkeys(name for row in known for name in row.placement or ()))
    copies = "Memcpy counts the copies between devices that onnxruntime inserted."
    return Grid(
        title="Where the nodes of the graph run",
        headings=("contender", *(name.replace("ExecutionProvider", "") for name in providers)),
        rows=[
            (full_name(row), *(str((row.placement or {}).get(name, 0)) for name in providers))
            for row in known
        ],
        note=copies if "Memcpy" in providers else "",
    )


def files(rows: Iterable[ContenderResult]) -> Grid:
    """Size, start and memory of every contender."""
    return grid(
        "Files, first calls and memory",
        rows,
        {
            "contender": full_name,
            "sha256": lambda row: row.sha256[:12],
            "file MiB": lambda row: mebibytes(row.size_bytes),
            "load ms": lambda row: milliseconds(row.load_ms),
            "first call ms": lambda row: milliseconds(row.first_call_ms),
            "new size ms": lambda row: middle(list(row.first_of_size_ms.values())[1:]),
            "compile ms": lambda row: (
                "" if row.compile_ms is None else milliseconds(row.compile_ms)
            ),
            "GPU MiB": lambda row: mebibytes(row.peak_memory_bytes),
            "RSS MiB": lambda row: mebibytes(row.peak_rss_bytes),
        },
        words=2,
        note="New size: median of the first calls on every further image size. GPU: what torch "
        "allocated. RSS: of the contender's own process, where each had one.",
    )
