"""Cars, bicycles and a dog, each drawn as a cutout."""

from __future__ import annotations

import math

import numpy as np

from .objects import PAINT
from .paint import Color, Cutout, Light, Point, Sheet, arc, chance, pick, shade, vary

_TYRE: Color = (30, 30, 32)
_GLASS: tuple[Color, ...] = ((58, 70, 80), (88, 104, 114), (40, 46, 52))


def car(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A car or van from the side, parked either way."""
    sheet = Sheet(scale, left=2.6, right=2.6, top=2.3, light=light)
    color, glass, way = vary(rng, pick(rng, PAINT), 14), pick(rng, _GLASS), pick(rng, (-1, 1))
    if chance(rng, 0.25):  # a van
        body = [(-2.2, 0.3), (2.2, 0.3), (2.2, 0.95), (1.75, 1.15), (1.25, 1.9), (-2.2, 1.95)]
        windows = [
            [(1.0, 1.15), (1.62, 1.15), (1.2, 1.75), (0.95, 1.75)],
            [(0.2, 1.15), (0.88, 1.15), (0.88, 1.75), (0.2, 1.75)],
        ]
    else:
        body = [
            (-2.1, 0.3),
            (2.1, 0.3),
            (2.12, 0.7),
            (1.95, 0.86),
            (1.05, 0.97),
            (0.35, 1.44),
            (-0.95, 1.45),
            (-1.6, 0.98),
            (-2.08, 0.9),
        ]
        windows = [
            [(-0.08, 0.98), (0.88, 0.98), (0.3, 1.36), (-0.08, 1.37)],
            [(-0.18, 0.98), (-0.18, 1.37), (-0.88, 1.37), (-1.35, 0.98)],
        ]

    def turned(points: list[Point]) -> list[Point]:
        return [(way * x, y) for x, y in points]

    sheet.polygon([(-2.0, 0.14), (2.0, 0.14), (2.0, 0.4), (-2.0, 0.4)], (24, 24, 26))
    sheet.solid(turned(body), color, (0, 1))
    for window in windows:
        sheet.polygon(turned(window), glass)
    shine = [(way * x, y) for x, y in ((-0.3, 1.34), (-0.5, 1.34), (-0.75, 1.0), (-0.55, 1.0))]
    sheet.polygon(shine, shade(glass, 1.25))
    sheet.line(turned([(-2.0, 0.62), (2.0, 0.62)]), 0.03, shade(color, 0.75))
    sheet.line(turned([(0.9, 0.4), (0.95, 0.97)]), 0.02, shade(color, 0.7))
    sheet.line(turned([(-0.13, 0.36), (-0.13, 1.0)]), 0.02, shade(color, 0.7))
    sheet.ellipse((way * 1.98, 0.72), 0.12, 0.08, (240, 236, 214))
    sheet.ellipse((way * -2.02, 0.78), 0.08, 0.1, (170, 36, 32))
    for x in (-1.3, 1.3):
        sheet.ball((way * x, 0.32), 0.33, 0.33, _TYRE)
        sheet.ball((way * x, 0.32), 0.2, 0.2, (150, 152, 154))
    return sheet.cutout()


def oncoming_car(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A car from the front or from behind."""
    sheet = Sheet(scale, left=1.2, right=1.2, top=1.8, light=light)
    color, glass, rear = vary(rng, pick(rng, PAINT), 14), pick(rng, _GLASS), chance(rng, 0.5)
    for side in (-1, 1):
        x = side * 0.68
        sheet.polygon([(x - 0.13, 0), (x + 0.13, 0), (x + 0.13, 0.45), (x - 0.13, 0.45)], _TYRE)
    sheet.solid([(-0.62, 0.85), (0.62, 0.85), (0.52, 1.46), (-0.52, 1.46)], shade(color, 0.92))
    sheet.polygon([(-0.64, 0.9), (0.64, 0.9), (0.5, 1.38), (-0.5, 1.38)], glass)
    sheet.solid(
        [(-0.86, 0.25), (0.86, 0.25), (0.88, 0.72), (0.7, 0.95), (-0.7, 0.95), (-0.88, 0.72)],
        color,
        (0, 1),
    )
    lamp_color: Color = (176, 34, 30) if rear else (244, 240, 220)
    for side in (-1, 1):
        sheet.ellipse((side * 0.68, 0.66), 0.15, 0.085, lamp_color)
    sheet.polygon(
        [(-0.4, 0.42), (0.4, 0.42), (0.4, 0.58), (-0.4, 0.58)],
        (226, 224, 216) if rear else (36, 36, 38),
    )
    sheet.line([(-0.85, 0.32), (0.85, 0.32)], 0.1, (40, 40, 42))
    return sheet.cutout()


def bicycle(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A parked bicycle without a rider."""
    sheet = Sheet(scale, left=1.1, right=1.1, top=1.25, light=light)
    color, way = vary(rng, pick(rng, PAINT), 14), pick(rng, (-1, 1))
    for x in (-0.52, 0.52):
        sheet.ring((x, 0.34), 0.34, 0.035, _TYRE)
        for spoke in range(6):
            dx, dy = 0.32 * math.cos(spoke * math.pi / 6), 0.32 * math.sin(spoke * math.pi / 6)
            sheet.line([(x - dx, 0.34 - dy), (x + dx, 0.34 + dy)], 0.005, (120, 120, 122))
    rear, front, crank = (way * -0.52, 0.34), (way * 0.52, 0.34), (way * -0.08, 0.3)
    seat, head = (way * -0.24, 0.82), (way * 0.36, 0.84)
    sheet.line([rear, crank, head, seat, rear], 0.035, color)
    sheet.line([crank, seat], 0.035, color)
    sheet.line([front, head, (way * 0.33, 0.98)], 0.035, color)
    sheet.line([(way * 0.2, 1.0), (way * 0.42, 1.0)], 0.035, (36, 36, 38))
    sheet.limb((way * -0.34, 0.88), (way * -0.14, 0.88), 0.045, 0.03, (34, 32, 32))
    return sheet.cutout()


def dog(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A dog from the side."""
    sheet = Sheet(scale, left=0.8, right=0.8, top=1.0, light=light)
    color = vary(rng, pick(rng, ((60, 44, 34), (176, 138, 92), (222, 214, 200), (40, 38, 38))), 10)
    way, swing = pick(rng, (-1, 1)), float(rng.uniform(0.02, 0.12))
    for x, dim in ((-0.28, 0.75), (0.24, 0.75), (-0.24, 1.0), (0.28, 1.0)):
        step = swing if dim == 1.0 else -swing
        tone = shade(color, dim)
        sheet.limb((way * x, 0.34), (way * (x + step), 0.02), 0.06, 0.035, tone)
    sheet.limb((way * -0.27, 0.4), (way * 0.26, 0.42), 0.12, 0.14, color)
    sheet.limb((way * 0.28, 0.45), (way * 0.42, 0.64), 0.09, 0.075, color)
    sheet.ball((way * 0.46, 0.68), 0.11, 0.095, color)
    sheet.limb((way * 0.5, 0.66), (way * 0.62, 0.63), 0.055, 0.04, color)
    ear = arc((way * 0.41, 0.72), 0.045, 0.09, 0, 2 * math.pi)
    sheet.polygon(ear, shade(color, 0.7))
    sheet.limb((way * -0.36, 0.45), (way * -0.52, 0.64), 0.035, 0.02, color)
    return sheet.cutout()
