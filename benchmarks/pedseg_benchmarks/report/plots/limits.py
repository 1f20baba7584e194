"""How much of the machine's own rate every contender reaches."""

from __future__ import annotations

from statistics import median

from ...results import BenchmarkResult
from ..grids import by_contender
from ..markup import Markup
from .axes import Axis, linear, logarithmic
from .curves import Curve, Point, curve_chart
from .rows import Row, row_chart, stack


def shares(result: BenchmarkResult) -> Markup | None:
    """The rate of every contender as a bar, beside the machine's."""
    machine, groups = result.sections.machine, by_contender(result.sections.limits)
    if machine is None or not groups:
        return None
    reached = {name: median(row.gflops for row in rows) for name, rows in groups.items()}
    axis = linear([machine.matmul_gflops, *reached.values()])
    rows = [
        Row(
            name,
            f"{rate:.0f} GFLOP/s · {rate / machine.matmul_gflops:.0%}",
            stack(axis, [("GFLOP/s", rate)], {"GFLOP/s": 0}),
        )
        for name, rate in sorted(reached.items(), key=lambda pair: -pair[1])
    ]
    rate = machine.matmul_gflops
    return row_chart(
        rows, axis, unit="GFLOP/s", reference=(rate, f"the machine's own {rate:.0f} GFLOP/s")
    )


def roofline(result: BenchmarkResult) -> Markup | None:
    """The rates against operations per byte of the file, below what the machine allows there.

    A file is read at least once per image, so that a point stands at the right of its true place:
    what intermediate results cost is not counted.
    """
    machine, groups = result.sections.machine, by_contender(result.sections.limits)
    sizes = {row.name: row.size_bytes for row in result.contenders}
    curves = [
        Curve(name, [_point(median(row.gflop for row in rows), rows[0].share, sizes[name], rate)])
        for name, rows in groups.items()
        if sizes.get(name)
        for rate in [median(row.gflops for row in rows)]
    ]
    if machine is None or not curves:
        return None
    ridge = machine.matmul_gflops / machine.bandwidth_gb_per_s
    points = [curve.points[0] for curve in curves]
    across = logarithmic([ridge / 4, *(point.x for point in points)])
    up = logarithmic([machine.matmul_gflops, *(point.y for point in points)])
    return curve_chart(
        curves,
        across,
        up,
        units=("operations per byte of the file, logarithmic", "GFLOP/s, logarithmic"),
        reference=(
            _roof(across, up, machine.matmul_gflops, machine.bandwidth_gb_per_s),
            f"{machine.bandwidth_gb_per_s:.0f} GB/s, then {machine.matmul_gflops:.0f} GFLOP/s",
        ),
    )


def _point(gflop: float, share: float, size: int, rate: float) -> Point:
    return Point(gflop * 1e9 / size, rate, f"{rate:.0f} GFLOP/s, {share:.0%} of the machine's")


def _roof(across: Axis, up: Axis, rate: float, bandwidth: float) -> list[tuple[float, float]]:
    """From where the slope enters the chart over the ridge to the right end."""
    start = max(across.low, up.low / bandwidth)
    return [(start, start * bandwidth), (rate / bandwidth, rate), (across.high, rate)]
