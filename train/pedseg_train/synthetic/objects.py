"""What stands or moves in a street and is no person: lamps, trees, cars, bicycles, a dog."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .paint import (
    Color,
    Cutout,
    Light,
    Point,
    Sheet,
    arc,
    chance,
    mix,
    pick,
    shade,
    vary,
)

DrawObject = Callable[[np.random.Generator, float, Light], Cutout]

_METAL: tuple[Color, ...] = ((62, 66, 68), (96, 100, 102), (40, 56, 48), (134, 138, 140))
PAINT: tuple[Color, ...] = (
    (176, 36, 34),
    (32, 64, 118),
    (222, 190, 60),
    (46, 96, 70),
    (226, 226, 224),
    (36, 36, 40),
    (150, 154, 158),
    (112, 36, 44),
    (92, 122, 156),
)
_LEAVES: tuple[Color, ...] = ((70, 104, 46), (92, 118, 52), (52, 84, 50), (120, 116, 52))


def lamp(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A street lamp with its arm to one side."""
    sheet = Sheet(scale, left=1.6, right=1.6, top=5.6, light=light)
    color, side = vary(rng, pick(rng, _METAL)), pick(rng, (-1, 1))
    high = float(rng.uniform(4.2, 5.2))
    sheet.limb((0, 0), (0, 0.9), 0.11, 0.09, color)
    sheet.limb((0, 0.9), (0, high), 0.06, 0.045, color)
    if chance(rng, 0.5):
        sheet.line([(0, high), (side * 0.4, high + 0.25), (side * 1.2, high + 0.3)], 0.07, color)
        sheet.ball((side * 1.25, high + 0.25), 0.26, 0.09, shade(color, 1.3))
    else:
        sheet.ball((0, high + 0.2), 0.2, 0.24, (236, 232, 214))
        sheet.polygon([(-0.2, high + 0.36), (0.2, high + 0.36), (0, high + 0.52)], color)
    return sheet.cutout()


def traffic_light(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A traffic light with one of its three lamps on."""
    sheet = Sheet(scale, left=0.5, right=0.5, top=3.6, light=light)
    color = vary(rng, pick(rng, _METAL[:3]))
    sheet.limb((0, 0), (0, 2.5), 0.06, 0.055, color)
    sheet.solid([(-0.19, 2.3), (0.19, 2.3), (0.19, 3.3), (-0.19, 3.3)], (34, 36, 36))
    lit = int(rng.integers(3))
    for index, tone in enumerate(((70, 214, 120), (244, 190, 60), (226, 52, 44))):
        center = (0.0, 2.48 + 0.32 * index)
        sheet.ellipse(center, 0.115, 0.115, tone if index == lit else shade(tone, 0.25))
    return sheet.cutout()


def litter_bin(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A round bin with a dark opening."""
    sheet = Sheet(scale, left=0.5, right=0.5, top=1.3, light=light)
    color, high, half = vary(rng, pick(rng, PAINT)), float(rng.uniform(0.85, 1.1)), 0.27
    sheet.solid([(-half, 0), (half, 0), (half * 1.08, high), (-half * 1.08, high)], color)
    sheet.ball((0, high), half * 1.15, 0.09, shade(color, 0.8))
    sheet.polygon(
        [(-0.17, high * 0.72), (0.17, high * 0.72), (0.17, high * 0.86), (-0.17, high * 0.86)],
        (26, 26, 28),
    )
    return sheet.cutout()


def post_box(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A pillar box."""
    sheet = Sheet(scale, left=0.5, right=0.5, top=1.7, light=light)
    color = vary(rng, pick(rng, PAINT[:3]), 8)
    sheet.solid([(-0.27, 0), (0.27, 0), (0.27, 0.18), (-0.27, 0.18)], (36, 34, 34))
    sheet.solid([(-0.24, 0.15), (0.24, 0.15), (0.24, 1.3), (-0.24, 1.3)], color)
    sheet.solid(arc((0, 1.3), 0.3, 0.17, 0, math.pi), shade(color, 0.92))
    sheet.polygon([(-0.14, 1.1), (0.14, 1.1), (0.14, 1.15), (-0.14, 1.15)], (20, 18, 18))
    sheet.polygon([(-0.12, 0.75), (0.12, 0.75), (0.12, 0.95), (-0.12, 0.95)], (232, 230, 224))
    return sheet.cutout()


def hydrant(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A fire hydrant."""
    sheet = Sheet(scale, left=0.5, right=0.5, top=1.0, light=light)
    color = vary(rng, pick(rng, (PAINT[0], PAINT[2], PAINT[6])))
    sheet.solid([(-0.2, 0), (0.2, 0), (0.2, 0.08), (-0.2, 0.08)], shade(color, 0.8))
    sheet.limb((0, 0.05), (0, 0.6), 0.13, 0.13, color)
    sheet.limb((-0.21, 0.45), (0.21, 0.45), 0.06, 0.06, shade(color, 0.9))
    sheet.ball((0, 0.66), 0.15, 0.11, shade(color, 1.1))
    return sheet.cutout()


def bollard(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A post that keeps cars away."""
    sheet = Sheet(scale, left=0.3, right=0.3, top=1.2, light=light)
    color, high = vary(rng, pick(rng, _METAL)), float(rng.uniform(0.75, 1.0))
    sheet.limb((0, 0), (0, high), 0.075, 0.065, color)
    sheet.limb((0, high * 0.8), (0, high * 0.86), 0.07, 0.07, (230, 228, 222))
    return sheet.cutout()


def sign(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A traffic sign: a disc, a triangle or a board."""
    sheet = Sheet(scale, left=0.6, right=0.6, top=3.2, light=light)
    high = float(rng.uniform(2.1, 2.6))
    sheet.limb((0, 0), (0, high + 0.1), 0.035, 0.035, (136, 140, 142))
    kind, tone = pick(rng, ("disc", "triangle", "board")), pick(rng, PAINT[:4])
    if kind == "disc":
        sheet.ellipse((0, high), 0.32, 0.32, tone)
        sheet.ellipse((0, high), 0.22, 0.22, (236, 234, 230))
    elif kind == "triangle":
        for size, color in ((0.4, (190, 40, 36)), (0.26, (240, 238, 232))):
            sheet.polygon(arc((0, high), size, size, math.pi / 2, math.pi * 11 / 6, 3), color)
    else:
        sheet.polygon(
            [(-0.36, high - 0.26), (0.36, high - 0.26), (0.36, high + 0.26), (-0.36, high + 0.26)],
            tone,
        )
        for row in (-0.1, 0.06):
            sheet.line([(-0.26, high + row), (0.24, high + row)], 0.05, (240, 238, 232))
    return sheet.cutout()


def cone(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A traffic cone."""
    sheet = Sheet(scale, left=0.4, right=0.4, top=0.9, light=light)
    orange = vary(rng, (226, 94, 36), 10)
    sheet.solid([(-0.26, 0), (0.26, 0), (0.24, 0.06), (-0.24, 0.06)], shade(orange, 0.8))
    sheet.solid([(-0.18, 0.05), (0.18, 0.05), (0.05, 0.72), (-0.05, 0.72)], orange)
    sheet.solid([(-0.13, 0.3), (0.13, 0.3), (0.095, 0.46), (-0.095, 0.46)], (238, 236, 232))
    return sheet.cutout()


def bush(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A shrub, sometimes in a pot."""
    sheet = Sheet(scale, left=1.3, right=1.3, top=2.2, light=light)
    half, high = float(rng.uniform(0.4, 0.95)), float(rng.uniform(0.7, 1.5))
    base = 0.0
    if chance(rng, 0.35):
        base, pot = 0.45, vary(rng, pick(rng, ((150, 92, 66), (128, 124, 118), (70, 70, 74))))
        sheet.solid([(-0.34, 0), (0.34, 0), (0.42, 0.5), (-0.42, 0.5)], pot)
        half = min(half, 0.55)
    _foliage(rng, sheet, (0, base + high * 0.46), half, high * 0.55, scale)
    return sheet.cutout()


def tree(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A street tree."""
    sheet = Sheet(scale, left=2.6, right=2.6, top=7.2, light=light)
    trunk, high = vary(rng, (92, 72, 56)), float(rng.uniform(1.8, 2.6))
    sheet.limb((0, 0), (0.05, high + 1), 0.16, 0.1, trunk)
    for side in (-1, 1):
        sheet.limb((0, high), (side * 0.8, high + 1.2), 0.08, 0.04, shade(trunk, 0.9))
    reach = float(rng.uniform(1.2, 2.0))
    _foliage(rng, sheet, (0, high + reach), reach, reach * 0.95, scale)
    return sheet.cutout()


def _foliage(
    rng: np.random.Generator, sheet: Sheet, center: Point, rx: float, ry: float, scale: float
) -> None:
    """Clumps of leaves: dark ones first, the brightest above."""
    color = vary(rng, pick(rng, _LEAVES), 10)
    sheet.ellipse(center, rx * 0.86, ry * 0.86, shade(color, 0.6))
    clumps = int(np.clip(3 * rx * scale, 20, 160))
    for index in range(clumps):
        angle, away = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.9) ** 0.5
        x, y = center[0] + rx * away * math.cos(angle), center[1] + ry * away * math.sin(angle)
        lift = 0.62 + 0.5 * index / clumps + 0.16 * (y - center[1]) / ry
        size = float(rng.uniform(0.8, 1.7)) / clumps**0.5
        sheet.ellipse((x, y), rx * size, ry * size * 0.8, vary(rng, shade(color, lift), 7))


def bench(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A park bench from the front."""
    sheet = Sheet(scale, left=1.1, right=1.1, top=1.1, light=light)
    wood, metal = vary(rng, (122, 84, 54), 14), vary(rng, pick(rng, _METAL))
    for x in (-0.75, 0.75):
        sheet.limb((x, 0), (x, 0.85), 0.035, 0.03, metal)
        sheet.limb((x * 0.97, 0.02), (x * 0.97, 0.42), 0.035, 0.03, metal)
    for y in (0.36, 0.42, 0.6, 0.7, 0.8):
        sheet.solid(
            [(-0.9, y - 0.035), (0.9, y - 0.035), (0.9, y + 0.035), (-0.9, y + 0.035)], wood, (0, 1)
        )
    return sheet.cutout()


def board(rng: np.random.Generator, scale: float, light: Light) -> Cutout:
    """A shop's board on the pavement."""
    sheet = Sheet(scale, left=0.6, right=0.6, top=1.3, light=light)
    frame = vary(rng, (104, 76, 50))
    sheet.solid([(-0.36, 0), (0.36, 0), (0.3, 1.05), (-0.3, 1.05)], frame)
    inside = pick(rng, ((40, 44, 42), (230, 226, 214)))
    sheet.polygon([(-0.29, 0.14), (0.29, 0.14), (0.25, 0.98), (-0.25, 0.98)], inside)
    ink = mix(inside, (240, 236, 220) if inside[0] < 99 else (60, 50, 60), 0.8)
    for y in (0.82, 0.66, 0.52, 0.38, 0.26):
        half = float(rng.uniform(0.08, 0.2))
        sheet.line([(-half, y), (half, y)], 0.045, ink)
    return sheet.cutout()


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
