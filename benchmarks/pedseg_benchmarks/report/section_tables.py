"""What was asked beyond one image at a time: scenarios, surfaces, starts, stages, the roofline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Protocol, TypeVar

from ..results import BenchmarkResult
from ..scenario_results import ColdStart, Limit, ScenarioResults
from .tables import Grid, about_contenders, dense, grid
from .wording import middle, milliseconds

POINTS = "Latency by image size and number of detections"


class OfContender(Protocol):
    """A row of a section."""

    @property
    def contender(self) -> str:
        """Its name."""


Kind = TypeVar("Kind", bound=OfContender)


def by_contender(rows: Iterable[Kind]) -> dict[str, list[Kind]]:
    """Rows per contender, in order of appearance."""
    groups: dict[str, list[Kind]] = {}
    for row in rows:
        groups.setdefault(row.contender, []).append(row)
    return groups


def more(result: BenchmarkResult) -> list[Grid]:
    """All tables but the main one; those about which nothing was measured are left out."""
    sections = result.sections
    found = [
        *(make(sections) for make in (server, offline, cost, surface, stages, cold_start)),
        roofline(result),
    ]
    return [*(dense(grid) for grid in found if grid.rows), *about_contenders(result)]


def offline(sections: ScenarioResults) -> Grid:
    """Throughput by batch size."""
    batches = sorted({row.batch for row in sections.offline})
    rates = {(row.contender, row.batch): f"{row.images_per_second:.2f}" for row in sections.offline}
    return Grid(
        title="Offline: images per second by batch size",
        headings=("contender", *(f"batch {batch}" for batch in batches)),
        rows=[
            (name, *(rates.get((name, batch), "") for batch in batches))
            for name in by_contender(sections.offline)
        ],
    )


def server(sections: ScenarioResults) -> Grid:
    """Latency under Poisson arrivals."""
    bounds = sorted({row.bound_ms for row in sections.server})
    return grid(
        "Server: latency from arrival to answer",
        sections.server,
        {
            "contender": lambda row: row.contender,
            "arrivals/s": lambda row: f"{row.rate:.2f}",
            "bound": lambda row: "holds" if row.holds else "broken",
            "p50 ms": lambda row: milliseconds(row.p50),
            "p90 ms": lambda row: milliseconds(row.p90),
            "p99 ms": lambda row: milliseconds(row.p99),
            "shed": lambda row: f"{row.shed} of {row.arrivals}",
        },
        note="Poisson arrivals, queueing included; the bound holds if p99 is at most "
        f"{' or '.join(milliseconds(bound) for bound in bounds)} ms and no request was shed."
        + "".join(f" {line}" for line in _highest(sections)),
    )


def _highest(sections: ScenarioResults) -> Iterator[str]:
    """The highest rate that every contender held: below the lowest rate that broke the bound."""
    for name, rows in by_contender(sections.server).items():
        broken = min((row.rate for row in rows if not row.holds), default=float("inf"))
        held = max((row.rate for row in rows if row.holds and row.rate < broken), default=None)
        rate = "none of the rates" if held is None else f"{held:.2f} per second"
        yield f"{name} held {rate}."


def surface(sections: ScenarioResults) -> Grid:
    """The points that the cost model is fitted to."""
    return grid(
        POINTS,
        sections.surface,
        {
            "contender": lambda point: point.contender,
            "height x width": lambda point: f"{point.height} x {point.width}",
            "detections": lambda point: str(point.detections),
            "p50 ms": lambda point: middle(point.samples_ms),
            "calls": lambda point: str(len(point.samples_ms)),
        },
    )


def cost(sections: ScenarioResults) -> Grid:
    """The fitted cost models."""
    return grid(
        "Cost model: ms = base + per detection + per megapixel",
        sections.cost,
        {
            "contender": lambda fit: fit.contender,
            "base ms": lambda fit: f"{fit.base_ms:.2f}",
            "ms per detection": lambda fit: f"{fit.per_detection_ms:.3f}",
            "ms per megapixel": lambda fit: f"{fit.per_megapixel_ms:.2f}",
            "R²": lambda fit: f"{fit.r_squared:.3f}",
        },
        note="Least squares over the points; megapixels of the network's resized input. R² is the "
        "share of the points' variance that the fit explains: do not use a fit with a low one.",
    )


def cold_start(sections: ScenarioResults) -> Grid:
    """From the start of a process to its first answer."""

    def together(row: ColdStart) -> str:
        return milliseconds(sum(map(median, (row.import_ms, row.load_ms, row.first_ms))))

    return grid(
        "Cold start: from the start of a process to its first answer",
        sections.cold_start,
        {
            "contender": lambda row: row.contender,
            "imports ms": lambda row: middle(row.import_ms),
            "load ms": lambda row: middle(row.load_ms),
            "first image ms": lambda row: middle(row.first_ms),
            "together ms": together,
            "starts": lambda row: str(len(row.import_ms)),
        },
        note="Medians over started processes; together is their sum.",
    )


def stages(sections: ScenarioResults) -> Grid:
    """What every stage of a request takes."""
    names = list(dict.fromkeys(row.stage for row in sections.stages))
    medians = {(row.contender, row.stage): middle(row.samples_ms) for row in sections.stages}
    return Grid(
        title="Stages of a request, p50 ms",
        headings=("contender", *names),
        rows=[
            (name, *(medians.get((name, stage), "") for stage in names))
            for name in by_contender(sections.stages)
        ],
    )


def roofline(result: BenchmarkResult) -> Grid:
    """How close every contender comes to the machine's own rates, over all images."""
    title, machine = "Share of the machine's limit", result.sections.machine
    if machine is None:
        return Grid(title=title, headings=(), rows=[])
    peak, bandwidth = machine.matmul_gflops, machine.bandwidth_gb_per_s
    sizes = {row.name: row.size_bytes for row in result.contenders}

    def over_images(rows: list[Limit]) -> str:
        shares = [row.share for row in rows]
        return f"{min(shares):.0%} to {max(shares):.0%}" if len(shares) > 1 else ""

    def weights_alone(rows: list[Limit]) -> str:
        size = sizes.get(rows[0].contender)
        return "" if size is None else milliseconds(size / bandwidth / 1e6)

    return grid(
        title,
        by_contender(result.sections.limits).values(),
        {
            "contender": lambda rows: rows[0].contender,
            "GFLOP per image": lambda rows: f"{median(row.gflop for row in rows):.1f}",
            "GFLOP/s reached": lambda rows: f"{median(row.gflops for row in rows):.1f}",
            "share": lambda rows: f"{median(row.share for row in rows):.0%}",
            "over images": over_images,
            "products alone ms": lambda rows: milliseconds(
                median(row.gflop for row in rows) / peak * 1e3
            ),
            "weights alone ms": weights_alone,
        },
        note=f"This machine multiplies float32 matrices at {peak:.0f} GFLOP/s and copies memory at "
        f"{bandwidth:.1f} GB/s. Products alone: how long the model's convolutions and matrix "
        "products would take at that rate. Weights alone: how long reading the file once would "
        "take at that bandwidth. A share above 100 % means fewer or cheaper multiplications than "
        "the textbook's float32 ones.",
    )
