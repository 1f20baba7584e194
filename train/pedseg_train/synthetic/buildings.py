"""Rows of houses: walls with windows, doors and shops, in perspective."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .paint import (
    Color,
    chance,
    mix,
    pick,
    shade,
    vary,
)
from .scenery import Canvas

_STONE: tuple[Color, ...] = (
    (168, 142, 116),
    (196, 182, 158),
    (146, 86, 66),
    (174, 168, 160),
    (122, 116, 112),
    (208, 196, 176),
    (156, 110, 84),
    (188, 178, 186),
    (140, 150, 152),
)
_AWNING: tuple[Color, ...] = ((150, 44, 44), (44, 88, 62), (46, 66, 112), (196, 160, 70))


@dataclass(frozen=True, slots=True)
class Wall:
    """A vertical plane from ground point `start` to `end`, both (x, z) in metres."""

    canvas: Canvas
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def length(self) -> float:
        """In metres."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))

    def at(self, along: float, up: float) -> tuple[float, float, float]:
        """The world point `along` metres from the start and `up` metres high."""
        share = along / self.length
        x = self.start[0] + (self.end[0] - self.start[0]) * share
        z = self.start[1] + (self.end[1] - self.start[1]) * share
        return x, up, z

    def panel(self, a0: float, a1: float, u0: float, u1: float, color: Color) -> None:
        """A rectangle on the wall."""
        corners = [self.at(a0, u0), self.at(a1, u0), self.at(a1, u1), self.at(a0, u1)]
        self.canvas.quad(corners, color)


def draw_houses(
    rng: np.random.Generator,
    canvas: Canvas,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    lit: float,
) -> None:
    """Draw a row of houses from `start` to `end`, (x, z) each, with brightness `lit`.

    The far end is drawn first, so that near houses cover far ones.
    """
    wall = Wall(canvas, start, end)
    widths = rng.uniform(6, 14, max(1, round(wall.length / 10)))
    edges = np.concatenate([[0], np.cumsum(widths)]) * wall.length / widths.sum()
    for left, right in reversed(list(itertools.pairwise(edges))):
        _house(rng, wall, float(left), float(right), lit)


def _house(rng: np.random.Generator, wall: Wall, left: float, right: float, lit: float) -> None:
    color = shade(vary(rng, pick(rng, _STONE), 10), lit)
    storeys = int(rng.integers(2, 6))
    storey = float(rng.uniform(2.8, 3.5))
    top = storeys * storey + 0.9
    wall.panel(left, right, 0, top, color)
    wall.panel(left, right, top - 0.5, top, shade(color, 0.82))
    wall.panel(left, right, 0, 0.5, shade(color, 0.78))
    if chance(rng, 0.6):
        wall.panel(left, right, storey - 0.15, storey + 0.1, shade(color, 1.12))
    _windows(rng, wall, (left, right), storey, storeys, color)
    if chance(rng, 0.65):
        _shop(rng, wall, left, right, storey, lit)
    else:
        _entrance(rng, wall, left, right, storey, color)
    wall.panel(right - 0.12, right, 0, top, shade(color, 0.7))


def _windows(
    rng: np.random.Generator,
    wall: Wall,
    span: tuple[float, float],
    storey: float,
    storeys: int,
    color: Color,
) -> None:
    """A regular grid of windows above the ground floor."""
    left, right = span
    columns = max(1, int((right - left) / rng.uniform(2.0, 3.2)))
    pitch = (right - left) / columns
    width, height = pitch * float(rng.uniform(0.35, 0.6)), storey * float(rng.uniform(0.45, 0.62))
    frame = pick(rng, (shade(color, 1.3), (236, 234, 228), (52, 50, 50), shade(color, 0.6)))
    glass = pick(rng, ((58, 70, 84), (84, 100, 116), (40, 46, 54), (120, 138, 150)))
    for floor in range(1, storeys):
        low = floor * storey + storey * 0.2
        for column in range(columns):
            middle = left + (column + 0.5) * pitch
            a0, a1 = middle - width / 2, middle + width / 2
            wall.panel(a0 - 0.1, a1 + 0.1, low - 0.12, low + height + 0.1, frame)
            pane = mix(glass, (210, 220, 226), float(rng.random() ** 3) * 0.7)
            if chance(rng, 0.08):
                pane = (236, 206, 142)
            wall.panel(a0, a1, low, low + height, pane)
            if chance(rng, 0.3):  # a blind, partly down
                down = height * float(rng.uniform(0.2, 0.8))
                wall.panel(a0, a1, low + height - down, low + height, (206, 200, 188))
            wall.panel(middle - 0.04, middle + 0.04, low, low + height, frame)


def _shop(
    rng: np.random.Generator, wall: Wall, left: float, right: float, storey: float, lit: float
) -> None:
    """A shop window over the whole ground floor, with a sign and perhaps an awning."""
    sign = shade(vary(rng, pick(rng, (*_AWNING, (60, 60, 66), (226, 222, 214))), 14), lit)
    wall.panel(left + 0.3, right - 0.3, 0, storey - 0.2, (50, 48, 48))
    pitch = (right - left - 0.6) / max(2, round((right - left) / 2.2))
    door = int(rng.integers(0, round((right - left - 0.6) / pitch)))
    for pane in range(round((right - left - 0.6) / pitch)):
        a0, a1 = left + 0.3 + pane * pitch + 0.08, left + 0.3 + (pane + 1) * pitch - 0.08
        low = 0.05 if pane == door else 0.55
        glow = mix((70, 82, 92), (226, 204, 160), float(rng.random()) * 0.7)
        wall.panel(a0, a1, low, storey - 0.85, glow)
        for _ in range(3):  # goods in the window
            x, high = float(rng.uniform(a0, a1)), float(rng.uniform(0.2, 0.7))
            wide = min(a1 - x, float(rng.uniform(0.15, 0.5)))
            tone = vary(rng, pick(rng, _AWNING), 40)
            wall.panel(x, x + wide, low + 0.1, low + 0.1 + high, mix(tone, glow, 0.4))
        wall.panel(a0, a0 + 0.15, low, storey - 0.85, mix(glow, (240, 246, 250), 0.35))
    wall.panel(left + 0.3, right - 0.3, storey - 0.75, storey - 0.2, sign)
    letter = left + (right - left) * 0.3
    while letter < left + (right - left) * 0.7:
        wide = float(rng.uniform(0.12, 0.32))
        wall.panel(letter, letter + wide, storey - 0.62, storey - 0.34, _contrast(sign))
        letter += wide + 0.12
    if chance(rng, 0.4):
        cloth = vary(rng, pick(rng, _AWNING), 12)
        stripe, a0 = 0.5, left + 0.3
        while a0 < right - 0.3:
            tone = cloth if round((a0 - left - 0.3) / stripe) % 2 else (232, 228, 220)
            wall.panel(a0, min(a0 + stripe, right - 0.3), storey - 1.2, storey - 0.7, tone)
            a0 += stripe


def _entrance(
    rng: np.random.Generator, wall: Wall, left: float, right: float, storey: float, color: Color
) -> None:
    """A house door and two or more ground-floor windows."""
    door = float(rng.uniform(left + 0.8, max(left + 0.9, right - 2.2)))
    tone = vary(rng, pick(rng, (*_AWNING, (84, 58, 40), (48, 48, 52))), 14)
    wall.panel(door - 0.15, door + 1.25, 0, 2.35, shade(color, 1.2))
    wall.panel(door, door + 1.1, 0, 2.2, tone)
    wall.panel(door + 0.2, door + 0.9, 1.3, 2.0, mix(tone, (150, 164, 172), 0.6))
    place = left + 0.7
    while place < right - 1.8:
        if not door - 1.6 < place < door + 1.5:
            wall.panel(place - 0.1, place + 1.3, 0.8, storey * 0.8 + 0.1, shade(color, 1.25))
            wall.panel(place, place + 1.2, 0.9, storey * 0.8, (70, 82, 94))
            wall.panel(place + 0.56, place + 0.64, 0.9, storey * 0.8, shade(color, 1.25))
        place += 2.1


def _contrast(color: Color) -> Color:
    return (40, 38, 38) if sum(color) > 420 else (238, 234, 224)
