"""How close the contenders come to what the machine can do."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from ...results import BenchmarkResult
from ...scenario_results import Limit, Machine
from ..wording import milliseconds
from .grid import Grid


def limits(result: BenchmarkResult) -> Grid:
    """How close every contender comes to the machine's own rates, over all images."""
    machine = result.sections.machine
    if machine is None:
        return Grid(title="Share of the machine's limit", headings=(), rows=[])
    sizes = {row.name: row.size_bytes for row in result.contenders}
    return Grid(
        title="Share of the machine's limit",
        headings=(
            "contender",
            "GFLOP per image",
            "GFLOP/s reached",
            "share",
            "over images",
            "products alone ms",
            "weights alone ms",
        ),
        rows=[
            (name, *_limit(found, sizes.get(name), machine))
            for name, found in by_contender(result.sections.limits).items()
        ],
        note=f"This machine multiplies float32 matrices at {machine.matmul_gflops:.0f} GFLOP/s and "
        f"copies memory at {machine.bandwidth_gb_per_s:.1f} GB/s. Products alone: how long the "
        "model's convolutions and matrix products would take at that rate. Weights alone: how long "
        "reading the file once would take at that bandwidth. A share above 100 % means fewer or "
        "cheaper multiplications than the textbook's float32 ones.",
    )


def _limit(found: list[Limit], size: int | None, machine: Machine) -> tuple[str, ...]:
    shares = [limit.share for limit in found]
    gflop = median(limit.gflop for limit in found)
    return (
        f"{gflop:.1f}",
        f"{median(limit.gflops for limit in found):.1f}",
        f"{median(shares):.0%}",
        f"{min(shares):.0%} to {max(shares):.0%}" if len(shares) > 1 else "",
        milliseconds(gflop / machine.matmul_gflops * 1e3),
        "" if size is None else milliseconds(size / machine.bandwidth_gb_per_s / 1e6),
    )


def by_contender(found: Iterable[Limit]) -> dict[str, list[Limit]]:
    """Limits per contender, in order of appearance."""
    groups: dict[str, list[Limit]] = {}
    for limit in found:
        groups.setdefault(limit.contender, []).append(limit)
    return groups
