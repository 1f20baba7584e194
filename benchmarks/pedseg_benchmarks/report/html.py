"""A benchmark as one page of HTML that needs no network, no script and no file beside it.

The page leads with the answer and its warnings; a plot stands above the table with its figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from ..results import BenchmarkResult
from . import grids, plots
from .grids import Grid
from .markup import Markup, joined, tag
from .wording import caption, flattened, full_name, headline, judgement, title, verdict, warnings


def html(result: BenchmarkResult) -> str:
    """The whole page of one benchmark."""
    return document(f"Benchmark: {title(result)}", benchmark(result))


def benchmark(result: BenchmarkResult) -> Markup:
    """What a page says of one benchmark."""
    return joined(
        _opening(result),
        _latency(result),
        _judgements(result),
        *_sections(result),
        _conditions(result),
    )


def document(name: str, *parts: Markup) -> str:
    """A page called `name` of one or several parts, with the style that they need."""
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    head = joined(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", name),
        tag("style", Markup(style)),
    )
    page = tag("html", tag("head", head), tag("body", tag("main", *parts)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _opening(result: BenchmarkResult) -> Markup:
    """The answer first, then what speaks against relying on it."""
    lines = warnings(result)
    alarm = (
        tag("ul", *(tag("li", line) for line in lines), class_="warnings", role="alert")
        if lines
        else tag("p", "No warnings: the machine was quiet, all contenders settled and passed.")
    )
    environment = result.environment
    gpu, cpu = environment["gpu"] or {}, environment["cpu"]
    is_gpu = str(result.settings["device"]) != "cpu"
    machine = gpu.get("name") if is_gpu else f"{cpu['model']}, {cpu['usable_cores']} cores"
    return tag(
        "header",
        tag("p", f"pedseg-bench · {machine or 'unknown machine'} · {result.created}", class_="dim"),
        tag("h1", title(result)),
        tag("p", headline(result), class_="answer"),
        alarm,
    )


def _latency(result: BenchmarkResult) -> Markup:
    return _section(
        "Latency, one image per call",
        table(grids.contenders(result)),
        tag("p", caption(result), class_="note"),
        _figure(
            "Times as fast as eager",
            plots.ratios(result),
            "Median over calls, each beside eager's on the same image in the same round, with a "
            "95 % bootstrap interval. Where it reaches the dashed line, no difference was shown.",
        ),
        _figure(
            "Every timed call",
            plots.distributions(result),
            "A point is a call (at most 240 are drawn per row, evenly over the ranks), the box "
            "holds the middle half, the line 5 % to 95 %, the tick is the median. Images of "
            "different sizes make several heaps.",
        ),
    )


def _judgements(result: BenchmarkResult) -> Markup | None:
    """What every verdict rests on."""
    rows = [row for row in result.contenders if row.judged_by != "truth"]
    if not rows:
        return None
    entries = [
        tag(
            "li",
            tag("b", full_name(row)),
            ": ",
            tag("span", verdict(row), class_="" if row.passed else "bad"),
            tag("div", judgement(row), class_="dim"),
        )
        for row in rows
    ]
    return _section("Are the answers right?", tag("ul", *entries, class_="judgements"))


def _sections(result: BenchmarkResult) -> list[Markup | None]:
    """A section for every further question, empty ones left out."""
    sections = result.sections
    return [
        _server(result),
        _with_plot(grids.offline(sections), plots.offline(sections)),
        _surfaces(result),
        _with_plot(grids.stages(sections), plots.stages(sections)),
        _with_plot(grids.cold_start(sections), plots.cold_start(sections)),
        _limits(result),
        *(_with_plot(grid, None) for grid in grids.about_contenders(result)),
    ]


def _server(result: BenchmarkResult) -> Markup | None:
    grid = grids.server(result.sections)
    if not grid.rows:
        return None
    return _section(
        grid.title,
        _figure(
            "",
            plots.server(result.sections),
            f"{grid.note} Hollow points broke the bound; a curve ends where p99 is beyond three "
            "times the bound, and is drawn at that.",
        ),
        tag("details", tag("summary", "All rates"), table(grid)),
    )


def _surfaces(result: BenchmarkResult) -> Markup | None:
    found, sized = plots.by_detections(result), plots.by_megapixels(result)
    if found is None:
        return None
    chart, (height, width) = found
    cost, points = grids.cost(result.sections), grids.surface(result.sections)
    return _section(
        "What detections and pixels cost",
        _figure(f"Latency by detections, at {height} x {width}", chart, "Lines: the cost model."),
        _figure(
            f"Latency by image size, points nearest to {sized[1]} detections",
            sized[0],
            "Lines: the cost model at that number of detections.",
        )
        if sized
        else None,
        _captioned(cost) if cost.rows else None,
        tag("details", tag("summary", points.title), table(points)),
    )


def _limits(result: BenchmarkResult) -> Markup | None:
    grid = grids.limits(result)
    if not grid.rows:
        return None
    return _section(
        grid.title,
        _figure("Rate reached", plots.shares(result)),
        _figure(
            "Roofline",
            plots.roofline(result),
            "Bytes are those of the file, read once per image. Intermediate results move more, so "
            "that the true places lie further left, nearer to the slope that bandwidth allows.",
        ),
        tag("p", grid.note, class_="note"),
        table(grid),
    )


def _with_plot(grid: Grid, plot: Markup | None, note: str = "") -> Markup | None:
    if not grid.rows:
        return None
    return _section(
        grid.title,
        _figure("", plot, note),
        tag("p", grid.note, class_="note") if grid.note else None,
        table(grid),
    )


def _conditions(result: BenchmarkResult) -> Markup:
    files = {row.name: row.sha256 for row in result.contenders}
    images = {str(i["name"]): f"{i['height']} x {i['width']}" for i in result.images}
    return _section(
        "Conditions",
        *(
            tag("details", tag("summary", name), _pairs(values), open="")
            for name, values in (
                ("Machine and libraries", result.environment),
                ("Settings", result.settings),
            )
        ),
        tag("details", tag("summary", f"{len(images)} images"), _pairs(images)),
        tag("details", tag("summary", "SHA-256 of every file"), _pairs(files)),
    )


def _pairs(values: Mapping[str, Any]) -> Markup:
    rows = (tag("tr", tag("th", name), tag("td", value)) for name, value in flattened(values))
    return tag("div", tag("table", *rows, class_="pairs"), class_="scroll")


def _section(name: str, *children: Markup | None) -> Markup:
    return tag("section", tag("h2", name), *children)


def _figure(name: str, plot: Markup | None, note: str = "") -> Markup | None:
    if plot is None:
        return None
    return tag(
        "figure",
        tag("h3", name) if name else None,
        plot,
        tag("figcaption", note) if note else None,
    )


def _captioned(grid: Grid) -> Markup:
    """A grid among others of its section."""
    note = tag("p", grid.note, class_="note") if grid.note else None
    return joined(tag("h3", grid.title), note, table(grid))


def table(grid: Grid) -> Markup:
    """A table that scrolls in its own box where it is wider than the page."""

    def cells(kind: str, row: tuple[str, ...]) -> list[Markup]:
        return [
            tag(kind, cell, class_="word" if index < grid.words else None)
            for index, cell in enumerate(row)
        ]

    head = tag("thead", tag("tr", *cells("th", grid.headings)))
    rows = [
        tag("tr", *cells("td", row), class_="bad" if index in grid.bad else None)
        for index, row in enumerate(grid.rows)
    ]
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll", tabindex=0)
