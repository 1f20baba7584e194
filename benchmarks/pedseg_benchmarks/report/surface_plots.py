"""Latency against detections and against image size, with the fitted cost models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from pedseg_export.graph.sizes import network_size
from pedseg_train.presentation.charts import Curve, curve_chart
from pedseg_train.presentation.figures import Figure

from ..results import BenchmarkResult
from ..scenario_results import CostModel, SurfacePoint
from .section_tables import by_contender
from .wording import milliseconds

Size = tuple[int, int]
PADDED_TO = 32  # the network's padded sides are multiples of it


def by_detections(result: BenchmarkResult) -> Figure | None:
    """Latency against detections at the size that has most points."""
    points = [point for point in result.sections.surface if point.samples_ms]
    if not points:
        return None
    size = Counter((point.height, point.width) for point in points).most_common(1)[0][0]
    area = megapixels(size, result.settings)
    return _figure(
        result,
        [point for point in points if (point.height, point.width) == size],
        place=lambda point: point.detections,
        fitted=lambda fit, detections: _time(fit, detections, area),
        unit="detections",
        title=f"Latency by detections, at {size[0]} x {size[1]}",
        note="Lines: the cost model.",
    )


def by_megapixels(result: BenchmarkResult) -> Figure | None:
    """Latency against the resized input's size, each point that with the most usual detections."""
    points = [point for point in result.sections.surface if point.samples_ms]
    if len({(point.height, point.width) for point in points}) < 2:
        return None
    usual = round(median(point.detections for point in points))
    closest: dict[tuple[str, Size], SurfacePoint] = {}
    for point in points:
        key = point.contender, (point.height, point.width)
        best = closest.get(key, point)
        closest[key] = min(best, point, key=lambda other: abs(other.detections - usual))
    resized = "the network's resized input" if _is_resized(result.settings) else "the image"
    return _figure(
        result,
        list(closest.values()),
        place=lambda point: megapixels((point.height, point.width), result.settings),
        fitted=lambda fit, area: _time(fit, usual, area),
        unit=f"megapixels of {resized}",
        title=f"Latency by image size, points nearest to {usual} detections",
        note="Lines: the cost model at that number of detections.",
    )


def megapixels(size: Size, settings: Mapping[str, Any]) -> float:
    """10^6 pixels that the network computes, as the cost models count them: padding included.

    The image's own where the document does not say to what it is resized.
    """
    if not _is_resized(settings):
        return size[0] * size[1] / 1e6
    limits = int(settings["min_size"]), int(settings["max_size"])
    _, (height, width) = network_size(*size, *limits, PADDED_TO)
    return height * width / 1e6


def _is_resized(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("min_size") and settings.get("max_size"))


def _time(fit: CostModel, detections: float, area: float) -> float:
    ms = fit.base_ms + fit.per_detection_ms * detections + fit.per_megapixel_ms * area
    return max(ms, 0.0)


def _figure(
    result: BenchmarkResult,
    points: Sequence[SurfacePoint],
    *,
    place: Callable[[SurfacePoint], float],
    fitted: Callable[[CostModel, float], float],
    unit: str,
    title: str,
    note: str,
) -> Figure:
    # Without the resized size there is nothing to place a fit by.
    costs = result.sections.cost if _is_resized(result.settings) else ()
    fits = {fit.contender: fit for fit in costs}
    curves = []
    for name, found in by_contender(points).items():
        own, fit = sorted(found, key=place), fits.get(name)
        ends = sorted({place(own[0]), place(own[-1])})
        curves.append(
            Curve(
                name,
                [_point(point, place(point)) for point in own],
                joined=fit is None,
                fit=[(x, fitted(fit, x)) for x in ends] if fit else (),
            )
        )
    return curve_chart(curves, units=(unit, "p50 in ms"), title=title, note=note)


def _point(point: SurfacePoint, x: float) -> tuple[float, float, str]:
    ms = median(point.samples_ms)
    size = f"{point.height} x {point.width}"
    return x, ms, f"{size}, {point.detections} detections, {milliseconds(ms)} ms"
