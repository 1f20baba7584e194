"""A benchmark as one page of HTML that needs no network, no script and no file beside it.

The page leads with the answer and its warnings; a plot stands above the table with its figures.
`templates` holds how it looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pedseg_train.presentation.page import Figure, render

from ..results import BenchmarkResult
from . import plots, section_tables, surface_plots, tables
from .tables import Grid
from .wording import caption, correctness, flattened, full_name, headline, title, verdict, warnings


@dataclass(frozen=True, slots=True)
class Section:
    """A question and its answer: plots, then tables.

    Attributes:
        title: the question.
        figures: those that could be drawn.
        note: what a reader needs to read them right.
        grids: tables; the title and the note of each that has another title than the section's
            stand above it.
        folded: a long table behind its name.
    """

    title: str
    figures: Sequence[Figure | None] = ()
    note: str = ""
    grids: Sequence[Grid] = ()
    folded: tuple[str, Grid] | None = None


def benchmark_html(result: BenchmarkResult) -> str:
    """The whole page of one benchmark."""
    return render(
        __package__,
        "benchmark.html.jinja",
        title=f"Benchmark: {title(result)}",
        part=part_of(result),
    )


def suite_html(
    title: str, caption: str, *, steps: Grid, commands: Sequence[tuple[str, str]],
    parts: Sequence[tuple[str, BenchmarkResult]], tables: Sequence[Grid] = (),
) -> str:  # fmt: skip
    """A page of several benchmarks.

    Args:
        title: of the page.
        caption: what came of all of it.
        steps: what was done.
        commands: names of steps with what a person would type.
        parts: the benchmarks by name.
        tables: what else was found, above the benchmarks.
    """
    return render(
        __package__,
        "suite.html.jinja",
        title=title,
        caption=caption,
        steps=steps,
        commands=commands,
        tables=[Section(one.title, note=one.note, grids=[one]) for one in tables],
        parts=[(name, part_of(result)) for name, result in parts],
    )


def part_of(result: BenchmarkResult) -> dict[str, Any]:
    """What `part.html.jinja` says of one benchmark."""
    environment = result.environment
    gpu, cpu = environment["gpu"] or {}, environment["cpu"]
    is_gpu = str(result.settings["device"]) != "cpu"
    machine = gpu.get("name") if is_gpu else f"{cpu['model']}, {cpu['usable_cores']} cores"
    images = {str(i["name"]): f"{i['height']} x {i['width']}" for i in result.images}
    files = {row.name: row.sha256 for row in result.contenders}
    return {
        "title": title(result),
        "kicker": f"pedseg-bench · {machine or 'unknown machine'} · {result.created}",
        "answer": headline(result),
        "warnings": warnings(result),
        "latency": Section(
            "Latency, one image per call",
            [plots.ratios(result), plots.distributions(result)],
            caption(result),
            [tables.contenders(result)],
        ),
        "checks": [
            (full_name(row), verdict(row), row.passed, correctness(row))
            for row in result.contenders
            if row.judged_by != "truth"
        ],
        "sections": list(_sections(result)),
        "conditions": [
            ("Machine and libraries", list(flattened(environment)), True),
            ("Settings", list(flattened(result.settings)), True),
            (f"{len(images)} images", list(images.items()), False),
            ("SHA-256 of every file", list(files.items()), False),
        ],
    }


def _sections(result: BenchmarkResult) -> Iterator[Section]:
    """A section for every further question that has an answer."""
    measured = result.sections
    if (server := section_tables.server(measured)).rows:
        note = (
            f"{server.note} Hollow points broke the bound; a curve ends where p99 is beyond three "
            "times the bound, and is drawn at that."
        )
        figures = [plots.server(measured)]
        yield Section(server.title, figures, note, folded=("All rates", server))
    yield from _plotted(section_tables.offline(measured), plots.offline(measured))
    if figure := surface_plots.by_detections(result):
        points, cost = section_tables.surface(measured), section_tables.cost(measured)
        yield Section(
            "What detections and pixels cost",
            [figure, surface_plots.by_megapixels(result)],
            grids=[cost] if cost.rows else (),
            folded=(points.title, points),
        )
    yield from _plotted(section_tables.stages(measured), plots.stages(measured))
    yield from _plotted(section_tables.cold_start(measured), plots.cold_start(measured))
    yield from _plotted(
        section_tables.roofline(result), plots.shares(result), plots.roofline(result)
    )
    for grid in tables.about_contenders(result):
        yield from _plotted(grid)


def _plotted(grid: Grid, *figures: Figure | None) -> Iterator[Section]:
    if grid.rows:
        yield Section(grid.title, figures, grid.note, [grid])
