"""Latency against detections and against image size, with the fitted cost models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

from pedseg_export.graph.sizes import network_size

from ...results import BenchmarkResult
from ...scenario_results import CostModel, SurfacePoint
from ..markup import Markup
from ..wording import milliseconds
from .axes import linear
from .curves import Curve, Point, curve_chart

Size = tuple[int, int]
PADDED_TO = 32  # the network's padded sides are multiples of it


def by_detections(result: BenchmarkResult) -> tuple[Markup, Size] | None:
    """Latency against detections at the size that has most points, and that size."""
    points = [point for point in result.sections.surface if point.samples_ms]
    if not points:
        return None
    size = Counter((point.height, point.width) for point in points).most_common(1)[0][0]
    chosen = [point for point in points if (point.height, point.width) == size]
    area = megapixels(size, result.settings)
    return _chart(
        chosen,
        lambda point: point.detections,
        fits=_fits(result, lambda fit, x: _time(fit, detections=x, area=area)),
        unit="detections",
    ), size


def by_megapixels(result: BenchmarkResult) -> tuple[Markup, int] | None:
    """Latency against the resized input's size, each point that with the most usual detections.

    Returns:
        The chart and that usual number; None if there is only one size.
    """
    points = [point for point in result.sections.surface if point.samples_ms]
    if len({(point.height, point.width) for point in points}) < 2:
        return None
    usual = round(median(point.detections for point in points))
    closest: dict[tuple[str, Size], SurfacePoint] = {}
    for point in points:
        key = point.contender, (point.height, point.width)
        best = closest.get(key, point)
        closest[key] = min(best, point, key=lambda other: abs(other.detections - usual))
    return _chart(
        list(closest.values()),
        lambda point: megapixels((point.height, point.width), result.settings),
        fits=_fits(result, lambda fit, x: _time(fit, detections=usual, area=x)),
        unit="megapixels of the network's resized input"
        if _is_resized(result.settings)
        else "megapixels of the image",
    ), usual


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


def _fits(
    result: BenchmarkResult, time: Callable[[CostModel, float], float]
) -> dict[str, Callable[[float], float]]:
    """By contender the fitted latency along an axis; none without the resized size."""
    if not _is_resized(result.settings):
        return {}
    return {fit.contender: partial(time, fit) for fit in result.sections.cost}


def _time(fit: CostModel, *, detections: float, area: float) -> float:
    return fit.base_ms + fit.per_detection_ms * detections + fit.per_megapixel_ms * area


def _chart(
    points: list[SurfacePoint],
    place: Callable[[SurfacePoint], float],
    *,
    fits: Mapping[str, Callable[[float], float]],
    unit: str,
) -> Markup:
    curves = []
    for name in dict.fromkeys(point.contender for point in points):
        own = sorted((p for p in points if p.contender == name), key=place)
        ends = sorted({place(own[0]), place(own[-1])})
        fit = fits.get(name)
        curves.append(
            Curve(
                name,
                [_point(point, place(point)) for point in own],
                joined=fit is None,
                fit=[(x, max(fit(x), 0.0)) for x in ends] if fit else (),
            )
        )
    heights = [point.y for curve in curves for point in curve.points]
    heights += [y for curve in curves for _, y in curve.fit]
    across = linear(point.x for curve in curves for point in curve.points)
    return curve_chart(curves, across, linear(heights), units=(unit, "p50 in ms"))


def _point(point: SurfacePoint, x: float) -> Point:
    ms = median(point.samples_ms)
    title = f"{point.height} x {point.width}, {point.detections} detections, {milliseconds(ms)} ms"
    return Point(x, ms, title)
