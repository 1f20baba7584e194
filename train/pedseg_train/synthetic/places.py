"""Places: a street seen across, a street seen along, a square, a park."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .buildings import draw_houses
from .paint import (
    Color,
    chance,
    mix,
    pick,
    shade,
    vary,
)
from .scenery import Camera, Canvas

_ASPHALT: tuple[Color, ...] = ((92, 94, 98), (112, 112, 114), (78, 80, 86), (128, 126, 124))
_PAVING: tuple[Color, ...] = (
    (168, 164, 158),
    (186, 178, 166),
    (150, 148, 148),
    (174, 150, 134),
    (200, 196, 190),
)
_GRASS: tuple[Color, ...] = ((104, 130, 66), (88, 118, 62), (134, 142, 78), (112, 128, 84))
_WHITE: Color = (222, 222, 216)


@dataclass(frozen=True, slots=True)
class Zone:
    """A rectangle on the ground, in metres: x to the right, z away from the camera."""

    x0: float
    x1: float
    z0: float
    z1: float

    def contains(self, x: float, z: float) -> bool:
        """Whether the point lies in it."""
        return self.x0 <= x <= self.x1 and self.z0 <= z <= self.z1


@dataclass(frozen=True, slots=True)
class Place:
    """Zones for people and objects on a drawn background.

    Attributes:
        walks: for people.
        edges: for lamps, trees, bins and the like.
        lanes: for vehicles.
        yaws: the directions in which people mostly walk, in radians (see `pose.Pose`).
        sideways: whether vehicles are seen from the side.
        green: whether to place bushes, trees and benches instead of street furniture.
    """

    walks: tuple[Zone, ...]
    edges: tuple[Zone, ...]
    lanes: tuple[Zone, ...]
    yaws: tuple[float, ...]
    sideways: bool = True
    green: bool = False


def draw_place(rng: np.random.Generator, canvas: Canvas) -> Place:
    """Draw a random place onto `canvas` and return its zones."""
    canvas.sky(rng)
    kinds = (_across, _across, _along, _along, _square, _park)
    return pick(rng, kinds)(rng, canvas)


def _across(rng: np.random.Generator, canvas: Canvas) -> Place:
    """Houses on the other side of a road that runs from left to right."""
    camera = canvas.camera
    near = camera.nearest * 0.9
    wall = near + float(rng.uniform(3.5, 9))
    kerb = wall - float(rng.uniform(2.2, 3.6))
    own = max(near + 0.4, kerb - float(rng.uniform(4.5, 7)))
    reach = _reach(camera, wall)
    draw_houses(rng, canvas, (-reach, wall), (reach, wall), lit=float(rng.uniform(0.8, 1.1)))
    road, paving = vary(rng, pick(rng, _ASPHALT), 8), vary(rng, pick(rng, _PAVING))
    canvas.floor(-reach, reach, near, wall, road)
    _pave(rng, canvas, Zone(-reach, reach, kerb, wall), paving)
    canvas.quad(
        [(-reach, 0, kerb), (reach, 0, kerb), (reach, -0.1, kerb), (-reach, -0.1, kerb)],
        shade(paving, 0.7),
    )
    walks = [Zone(-reach, reach, kerb + 0.3, wall - 0.3)]
    if own - near > 0.8:
        _pave(rng, canvas, Zone(-reach, reach, near, own), paving)
        canvas.floor(-reach, reach, own, own + 0.18, shade(paving, 1.12))
        walks.append(Zone(-reach, reach, near, own - 0.2))
    if chance(rng, 0.4):
        x = float(rng.uniform(-0.5, 0.5)) * reach
        for stripe in range(-3, 4):
            canvas.floor(x + stripe * 0.9, x + stripe * 0.9 + 0.5, own + 0.3, kerb, _WHITE)
        walks.append(Zone(x - 2.5, x + 2.5, near, wall))
    elif chance(rng, 0.6):
        _dashes(canvas, (-reach, (own + kerb) / 2), (reach, (own + kerb) / 2))
    return Place(
        walks=tuple(walks),
        edges=(Zone(-reach, reach, kerb + 0.2, kerb + 0.6), Zone(-reach, reach, own - 0.6, own)),
        lanes=(Zone(-reach, reach, kerb - 0.9, kerb - 0.5),),
        yaws=(math.pi / 2, -math.pi / 2),
    )


def _along(rng: np.random.Generator, canvas: Canvas) -> Place:
    """A street that runs away from the camera, houses on both sides."""
    near, far = canvas.camera.nearest * 0.9, float(rng.uniform(45, 90))
    half, shift = float(rng.uniform(2.2, 4.0)), float(rng.uniform(-3, 3))
    left, right = shift - half, shift + half
    west, east = left - float(rng.uniform(2, 4.5)), right + float(rng.uniform(2, 4.5))
    road, paving = vary(rng, pick(rng, _ASPHALT), 8), vary(rng, pick(rng, _PAVING))
    reach = _reach(canvas.camera, far)
    canvas.floor(-reach, reach, near, far * 3, shade(road, 1.05))
    if chance(rng, 0.5):
        draw_houses(rng, canvas, (-reach, far), (reach, far), lit=1.0)
    else:
        _tree_line(rng, canvas, far)
    canvas.floor(left, right, near, far, road)
    sunny = float(rng.uniform(0.75, 1.1))
    for outer, kerb in ((west, left), (east, right)):
        _pave(rng, canvas, Zone(min(outer, kerb), max(outer, kerb), near, far), paving)
        canvas.floor(kerb - 0.09, kerb + 0.09, near, far, shade(paving, 1.14))
    draw_houses(rng, canvas, (west, 1.3), (west, far), lit=sunny)
    draw_houses(rng, canvas, (east, 1.3), (east, far), lit=1.85 - sunny)
    _dashes(canvas, (shift, near), (shift, far))
    walks = [Zone(west + 0.4, left - 0.2, near, 40), Zone(right + 0.2, east - 0.4, near, 40)]
    if chance(rng, 0.35):  # people walk on the road, too
        walks.append(Zone(left, right, near, 25))
    if chance(rng, 0.5):
        z = near + float(rng.uniform(1, 8))
        for stripe in range(int((right - left) / 0.9)):
            x = left + 0.2 + stripe * 0.9
            canvas.floor(x, x + 0.5, z, z + 2.6, _WHITE)
        walks.append(Zone(west, east, z, z + 2.6))
    return Place(
        walks=tuple(walks),
        edges=(Zone(left - 0.5, left - 0.2, near, 35), Zone(right + 0.2, right + 0.5, near, 35)),
        lanes=(Zone(left + 0.9, left + 1.2, 9, 40), Zone(right - 1.2, right - 0.9, 9, 40)),
        yaws=(0.0, 0.0, math.pi, math.pi, math.pi / 2, -math.pi / 2),
        sideways=False,
    )


def _square(rng: np.random.Generator, canvas: Canvas) -> Place:
    """A paved square with houses behind."""
    near = canvas.camera.nearest * 0.9
    wall = near + float(rng.uniform(13, 30))
    reach = _reach(canvas.camera, wall)
    draw_houses(rng, canvas, (-reach, wall), (reach, wall), lit=float(rng.uniform(0.8, 1.1)))
    paving = vary(rng, pick(rng, _PAVING), 14)
    _pave(rng, canvas, Zone(-reach, reach, near, wall), paving)
    if chance(rng, 0.4):
        band = shade(paving, float(rng.uniform(0.7, 0.85)))
        for x in np.arange(-reach, reach, float(rng.uniform(3, 5))):
            canvas.floor(float(x), float(x) + 0.4, near, wall, band)
    return Place(
        walks=(Zone(-reach, reach, near, wall - 0.5),),
        edges=(Zone(-reach, reach, wall * 0.4, wall - 0.6), Zone(-reach, reach, near + 2, wall)),
        lanes=(),
        yaws=(math.pi / 2, -math.pi / 2, 0.0, math.pi),
    )


def _park(rng: np.random.Generator, canvas: Canvas) -> Place:
    """Grass and a path, trees behind."""
    near, far = canvas.camera.nearest * 0.9, float(rng.uniform(30, 60))
    reach = _reach(canvas.camera, far)
    if chance(rng, 0.4):
        draw_houses(rng, canvas, (-reach, far * 1.4), (reach, far * 1.4), lit=0.95)
    _tree_line(rng, canvas, far * 1.2)
    grass = vary(rng, pick(rng, _GRASS), 10)
    canvas.floor(-reach, reach, near, far * 1.25, grass)
    path = vary(rng, pick(rng, (*_PAVING, (186, 162, 126))), 10)
    if chance(rng, 0.5):
        z0 = near * float(rng.uniform(1, 2.4))
        way = Zone(-reach, reach, z0, z0 + float(rng.uniform(2.5, 4)))
        yaws: tuple[float, ...] = (math.pi / 2, -math.pi / 2)
    else:
        x0 = float(rng.uniform(-3, 0.5))
        way = Zone(x0, x0 + float(rng.uniform(2.4, 4)), near, far)
        yaws = (0.0, math.pi, 0.0, math.pi, math.pi / 2)
    canvas.floor(way.x0, way.x1, way.z0, way.z1, path)
    edge = mix(path, grass, 0.5)
    canvas.floor(way.x0, way.x1, way.z0, way.z0 + 0.12, edge)
    canvas.floor(way.x0, way.x1, way.z1 - 0.12, way.z1, edge)
    return Place(
        walks=(way, way, Zone(-reach, reach, near, 25)),
        edges=(Zone(-reach, reach, way.z1 if yaws[0] else near + 2, far),),
        lanes=(),
        yaws=yaws,
        green=True,
    )


def _reach(camera: Camera, z: float) -> float:
    """How far to the sides the ground must be drawn at distance `z`, in metres."""
    return max(6.0, 1.15 * camera.half_width(z))


def _pave(rng: np.random.Generator, canvas: Canvas, zone: Zone, color: Color) -> None:
    """Slabs with seams, which are left out in the distance."""
    canvas.floor(zone.x0, zone.x1, zone.z0, zone.z1, color)
    tile, seam = float(rng.uniform(0.4, 1.0)), shade(color, float(rng.uniform(0.82, 0.93)))
    end = min(zone.z1, 11.0)
    if zone.z0 >= end:
        return
    for z in np.arange(zone.z0, end, tile):
        canvas.seam((zone.x0, float(z)), (zone.x1, float(z)), seam)
    for x in np.arange(zone.x0, zone.x1, tile):
        canvas.seam((float(x), zone.z0), (float(x), end), seam)


def _dashes(canvas: Canvas, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A broken line in the middle of a road, (x, z) to (x, z)."""
    if start[0] == end[0]:
        for z in np.arange(start[1], end[1], 4.0):
            canvas.floor(start[0] - 0.06, start[0] + 0.06, float(z), float(z) + 1.8, _WHITE)
    else:
        for x in np.arange(start[0], end[0], 2.6):
            canvas.floor(float(x), float(x) + 1.4, start[1] - 0.06, start[1] + 0.06, _WHITE)


def _tree_line(rng: np.random.Generator, canvas: Canvas, z: float) -> None:
    """The tops of many trees `z` metres away, dark ones behind bright ones."""
    camera, color = canvas.camera, vary(rng, pick(rng, _GRASS), 12)
    scale = camera.scale(z)
    base = camera.point(0, 0, z)[1]
    for row in range(3):
        tone = canvas.add_haze(shade(color, 0.55 + 0.14 * row), z)
        high = float(rng.uniform(5, 9)) * scale * (1 - 0.22 * row)
        x = -10.0
        while x < camera.width + 10:
            size = high * float(rng.uniform(0.3, 0.6))
            y = base - high + size + float(rng.uniform(-0.15, 0.15)) * high
            canvas.ellipse((x, y), size, size * 0.9, vary(rng, tone, 5))
            canvas.polygon([(x - size, y), (x + size, y), (x + size, base), (x - size, base)], tone)
            x += size * 1.2
