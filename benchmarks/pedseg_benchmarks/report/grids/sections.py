"""What was asked beyond one image at a time: scenarios, surfaces, starts and stages."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ...scenario_results import ScenarioResults
from ..wording import middle, milliseconds
from .grid import Grid

POINTS = "Latency by image size and number of detections"


def offline(sections: ScenarioResults) -> Grid:
    """Throughput by batch size."""
    batches = sorted({row.batch for row in sections.offline})
    rates = {(row.contender, row.batch): f"{row.images_per_second:.2f}" for row in sections.offline}
    return Grid(
        title="Offline: images per second by batch size",
        headings=("contender", *(f"batch {batch}" for batch in batches)),
        rows=[
            (name, *(rates.get((name, batch), "") for batch in batches))
            for name in dict.fromkeys(row.contender for row in sections.offline)
        ],
    )


def server(sections: ScenarioResults) -> Grid:
    """Latency under Poisson arrivals."""
    rows = sections.server
    bounds = sorted({row.bound_ms for row in rows})
    return Grid(
        title="Server: latency from arrival to answer",
        headings=("contender", "arrivals/s", "bound", "p50 ms", "p90 ms", "p99 ms", "shed"),
        rows=[
            (
                row.contender,
                f"{row.rate:.2f}",
                "holds" if row.holds else "broken",
                *(milliseconds(value) for value in (row.p50, row.p90, row.p99)),
                f"{row.shed} of {row.arrivals}",
            )
            for row in rows
        ],
        note="Poisson arrivals, queueing included; the bound holds if p99 is at most "
        f"{' or '.join(milliseconds(bound) for bound in bounds)} ms and nobody was shed."
        + "".join(f" {line}" for line in _highest(sections)),
    )


def _highest(sections: ScenarioResults) -> Iterator[str]:
    """The highest rate that every contender held: below the lowest rate that broke the bound."""
    for name in dict.fromkeys(row.contender for row in sections.server):
        rows = [row for row in sections.server if row.contender == name]
        broken = min((row.rate for row in rows if not row.holds), default=float("inf"))
        held = max((row.rate for row in rows if row.holds and row.rate < broken), default=None)
        if held is None:
            yield f"{name} held none of the rates."
        else:
            yield f"{name} held {held:.2f} per second."


def surface(sections: ScenarioResults) -> Grid:
    """The points that the cost model is fitted to."""
    return Grid(
        title=POINTS,
        headings=("contender", "height x width", "detections", "p50 ms", "calls"),
        rows=[
            (
                point.contender,
                f"{point.height} x {point.width}",
                str(point.detections),
                middle(point.samples_ms),
                str(len(point.samples_ms)),
            )
            for point in sections.surface
        ],
    )


def cost(sections: ScenarioResults) -> Grid:
    """The fitted cost models."""
    return Grid(
        title="Cost model: ms = base + per detection + per megapixel",
        headings=("contender", "base ms", "ms per detection", "ms per megapixel", "R²"),
        rows=[
            (
                fit.contender,
                f"{fit.base_ms:.2f}",
                f"{fit.per_detection_ms:.3f}",
                f"{fit.per_megapixel_ms:.2f}",
                f"{fit.r_squared:.3f}",
            )
            for fit in sections.cost
        ],
        note="Least squares over the points; megapixels of the network's resized input. R² is the "
        "share of the points' variance that the fit explains: do not use a fit with a low one.",
    )


def cold_start(sections: ScenarioResults) -> Grid:
    """From the start of a process to its first answer."""
    return Grid(
        title="Cold start: from the start of a process to its first answer",
        headings=("contender", "imports ms", "load ms", "first image ms", "together ms", "starts"),
        rows=[
            (
                row.contender,
                *(middle(part) for part in (row.import_ms, row.load_ms, row.first_ms)),
                milliseconds(
                    sum(median(part) for part in (row.import_ms, row.load_ms, row.first_ms))
                ),
                str(len(row.import_ms)),
            )
            for row in sections.cold_start
        ],
        note="Medians over started processes; together is their sum.",
    )


def stages(sections: ScenarioResults) -> Grid:
    """What every stage of a request takes."""
    names = list(dict.fromkeys(row.stage for row in sections.stages))
    medians = {(row.contender, row.stage): row.samples_ms for row in sections.stages}
    return Grid(
        title="Stages of a request, p50 ms",
        headings=("contender", *names),
        rows=[
            (name, *(middle(medians.get((name, stage), [])) for stage in names))
            for name in dict.fromkeys(row.contender for row in sections.stages)
        ],
    )
