"""Colours, fabrics, and a supersampled sheet to draw one object on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]
Item = TypeVar("Item")

OVERSAMPLING = 4
LARGE = 1200  # pixels of a unit on the enlarged sheet


def pick(rng: np.random.Generator, options: Sequence[Item]) -> Item:
    """One of `options`, all equally likely."""
    return options[int(rng.integers(len(options)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with `probability`."""
    return bool(rng.random() < probability)


def clipped_normal(rng: np.random.Generator, mean: float, deviation: float) -> float:
    """A normal random number, clipped at 2.5 standard deviations."""
    return mean + deviation * min(2.5, max(-2.5, float(rng.normal())))


def shade(color: Color, factor: float) -> Color:
    """`color` darker (factor below 1) or lighter (above 1)."""
    red, green, blue = (min(255, max(0, round(value * factor))) for value in color)
    return red, green, blue


def mix(first: Color, second: Color, share: float) -> Color:
    """The colour that lies `share` (0..1) of the way from `first` to `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def vary(rng: np.random.Generator, color: Color, amount: float = 12) -> Color:
    """A colour close to `color`: brightness and each channel moved by about `amount`."""
    moved = np.asarray(color) + rng.normal(0, amount) + rng.normal(0, amount / 3, 3)
    red, green, blue = (int(value) for value in np.clip(moved, 0, 255))
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Fabric:
    """The fabric of a piece of clothing.

    Attributes:
        color: the main colour.
        pattern: "plain", "rows", "columns", "checks" or "blocks".
        second: the other colour of a pattern.
        period: of the pattern, in the sheet's units.
    """

    color: Color
    pattern: str = "plain"
    second: Color = (255, 255, 255)
    period: float = 0.1

    def dimmed(self, factor: float) -> Fabric:
        """The same fabric in less (or more) light."""
        return Fabric(
            shade(self.color, factor), self.pattern, shade(self.second, factor), self.period
        )

    def texture(self, xs: NDArray[Any], ys: NDArray[Any]) -> NDArray[np.uint8]:
        """Colours at columns `xs` [W] and rows `ys` [H], uint8 [H, W, 3] or [1, 1, 3] if plain."""
        colors = np.array([self.color, self.second], np.uint8)
        if self.pattern == "plain":
            return colors[:1, None]
        column = (xs / self.period % 1 < 0.5)[None, :]
        row = (ys / self.period % 1 < 0.5)[:, None]
        chosen = {
            "rows": row | np.zeros_like(column),
            "columns": column | np.zeros_like(row),
            "checks": column ^ row,
            "blocks": (ys > 0.68 * ys.max(initial=0))[:, None] | np.zeros_like(column),
        }[self.pattern]
        painted: NDArray[np.uint8] = colors[chosen.astype(np.intp)]
        return painted


Paint = Color | Fabric


@dataclass(frozen=True, slots=True)
class Light:
    """The light: `side` from -1 left to 1 right, `strength` from 0 flat to about 0.4 harsh."""

    side: float
    strength: float


@dataclass(frozen=True, slots=True)
class Cutout:
    """One drawn object, ready to be pasted.

    Attributes:
        image: RGBA at the image's resolution, cropped to its content.
        left: columns from the object's foot to the left edge of `image`.
        top: rows from the object's foot to the upper edge of `image`.
    """

    image: Image.Image
    left: int
    top: int


class Sheet:
    """A transparent sheet on which one object is drawn, in metres or any other unit.

    The origin is where the object touches the ground, x points right and y up. Everything is drawn
    at a higher resolution; `cutout` averages it down, which gives smooth edges.

    Args:
        scale: pixels of the image per unit.
        left: extent to the left of the origin in units, as `right`, `top` and `bottom`; the
            rest is clipped.
        right: see `left`.
        top: see `left`.
        bottom: see `left`.
        light: of everything that `solid`, `ball` and `limb` draw.
    """

    def __init__(
        self,
        scale: float,
        *,
        left: float,
        right: float,
        top: float,
        bottom: float = 0.15,
        light: Light,
    ) -> None:
        # Large objects have smooth edges anyway, and their sheets would take much memory.
        self._larger = max(1, min(OVERSAMPLING, round(LARGE / scale)))
        self._scale = scale * self._larger
        self._left, self._top = math.ceil(left * scale), math.ceil(top * scale)
        width = self._left + math.ceil(right * scale)
        height = self._top + math.ceil(bottom * scale)
        size = (max(1, width) * self._larger, max(1, height) * self._larger)
        self._image = Image.new("RGBA", size)
        self._draw = ImageDraw.Draw(self._image)
        self._light = light

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """A flat polygon."""
        self._draw.polygon(self._pixels(points), fill=color)

    def ellipse(self, center: Point, rx: float, ry: float, color: Color) -> None:
        """A flat ellipse with the radii `rx` and `ry`."""
        (x1, y1), (x2, y2) = self._pixels(
            [(center[0] - rx, center[1] + ry), (center[0] + rx, center[1] - ry)]
        )
        self._draw.ellipse((x1, y1, x2, y2), fill=color)

    def line(self, points: Sequence[Point], width: float, color: Color) -> None:
        """A line through `points`, `width` units wide, at least half a pixel."""
        pixels = max(self._larger // 2, round(width * self._scale))
        self._draw.line(self._pixels(points), fill=color, width=pixels, joint="curve")

    def ring(self, center: Point, radius: float, width: float, color: Color) -> None:
        """A circle's outline."""
        x, y = self._pixels([center])[0]
        pixels = max(self._larger // 2, round(width * self._scale))
        self._draw.circle((x, y), radius * self._scale, outline=color, width=pixels)

    def solid(self, points: Sequence[Point], paint: Paint, across: Point = (1, 0)) -> None:
        """A shape shaded as if round: darker at the rim, brighter towards the light.

        Args:
            points: the outline.
            paint: its colour or fabric.
            across: the direction of curvature; (0, 0) for all directions.
        """
        outline = np.asarray(self._pixels(points))
        low = np.floor(outline.min(axis=0)).astype(int)
        width, height = (int(value) for value in np.ceil(outline.max(axis=0)).astype(int) - low + 1)
        fabric = paint if isinstance(paint, Fabric) else Fabric(paint)
        xs, ys = np.arange(width) + 0.5, np.arange(height) + 0.5
        tones = self._tones(outline - low, xs[None, :], ys[:, None], across)
        colors = fabric.texture((xs + low[0]) / self._scale, ys[::-1] / self._scale)
        painted = Image.fromarray(np.minimum(colors * tones[..., None], 255).astype(np.uint8))
        stencil = Image.new("L", (width, height))
        ImageDraw.Draw(stencil).polygon([(x, y) for x, y in (outline - low).tolist()], fill=255)
        self._image.paste(painted, (int(low[0]), int(low[1])), stencil)

    def ball(self, center: Point, rx: float, ry: float, paint: Paint) -> None:
        """A shaded ellipse."""
        self.solid(arc(center, rx, ry, 0, 2 * math.pi, 28), paint, (0, 0))

    def limb(self, start: Point, end: Point, r0: float, r1: float, paint: Paint) -> None:
        """A shaded bone with the radii `r0` at its start and `r1` at its end."""
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        half = math.pi / 2
        self.solid(
            [
                *arc(end, r1, r1, angle - half, angle + half, 9),
                *arc(start, r0, r0, angle + half, angle + 3 * half, 9),
            ],
            paint,
            (math.sin(angle), -math.cos(angle)),
        )

    def cutout(self) -> Cutout:
        """The drawing at the image's resolution."""
        small = self._image.reduce(self._larger)
        left, top, right, bottom = small.getbbox() or (0, 0, 1, 1)
        return Cutout(small.crop((left, top, right, bottom)), left - self._left, top - self._top)

    def _tones(
        self,
        outline: NDArray[np.float64],
        xs: NDArray[Any],
        ys: NDArray[Any],
        across: Point,
    ) -> NDArray[np.float64]:
        """The brightness of every pixel [H, W] inside `outline` [P, 2], about 1."""
        low, high = outline.min(axis=0), outline.max(axis=0)
        middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1)
        right, down = (xs - middle[0]), (ys - middle[1])
        if across == (0, 0):
            u, v = right / half[0] - 0.35 * self._light.side, down / half[1] + 0.35
            distance = 0.7 * (u * u + v * v)
        else:
            spread = (outline - middle) @ np.array([across[0], -across[1]])
            u = (right * across[0] - down * across[1]) / max(1.0, float(spread.max()))
            towards = self._light.side * across[0] + 0.5 * across[1]
            distance = np.square(u - 0.45 * towards) + 0 * down
        tones: NDArray[np.float64] = 1 + self._light.strength * (0.35 - distance)
        return tones

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        left, top = self._left * self._larger, self._top * self._larger
        return [(left + x * self._scale, top - y * self._scale) for x, y in points]


def arc(
    center: Point, rx: float, ry: float, start: float, end: float, count: int = 15
) -> list[Point]:
    """`count` points of an ellipse from angle `start` to `end`, counter-clockwise."""
    step = (end - start) / (count - 1)
    return [
        (center[0] + rx * math.cos(start + i * step), center[1] + ry * math.sin(start + i * step))
        for i in range(count)
    ]
