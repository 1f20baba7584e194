"""The camera, and what lies behind the people: sky, ground, a canvas in world coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .paint import (
    Color,
    Light,
    Point,
    chance,
    mix,
    pick,
    vary,
)


@dataclass(frozen=True, slots=True)
class Camera:
    """A level pinhole camera over a flat ground.

    The world's axes, in metres: x right, y up from the ground, z away from the camera.

    Attributes:
        width: of the image in pixels.
        height: of the image in pixels.
        horizon: the row of the horizon.
        middle: the column of the optical axis.
        eye: height of the camera above the ground in metres.
        focal: focal length in pixels.
    """

    width: int
    height: int
    horizon: float
    middle: float
    eye: float
    focal: float

    def point(self, x: float, y: float, z: float) -> Point:
        """Column and row of a world point in front of the camera."""
        scale = self.focal / z
        return self.middle + x * scale, self.horizon + (self.eye - y) * scale

    def scale(self, z: float) -> float:
        """Pixels per metre at distance `z`."""
        return self.focal / z

    def half_width(self, z: float) -> float:
        """Metres from the middle of the image to its farther side at distance `z`."""
        return max(self.middle, self.width - self.middle) * z / self.focal

    @property
    def nearest(self) -> float:
        """The distance of the ground at the lower edge of the image."""
        return self.eye * self.focal / (self.height - self.horizon)


def random_camera(rng: np.random.Generator, *, width: int, height: int) -> Camera:
    """A camera at eye height or, one time in four, somewhat higher."""
    high = rng.random() < 0.25
    return Camera(
        width=width,
        height=height,
        horizon=height * float(rng.uniform(0.2, 0.34) if high else rng.uniform(0.34, 0.48)),
        middle=width * float(rng.uniform(0.38, 0.62)),
        eye=float(rng.uniform(2.4, 3.6) if high else rng.uniform(1.4, 1.9)),
        focal=min(max(width, height), 2 * height) * float(rng.uniform(0.85, 1.15)),
    )


_OVERSAMPLING = 2
_SKIES: tuple[tuple[Color, Color], ...] = (
    ((96, 148, 206), (196, 216, 232)),  # a clear day, top and horizon
    ((128, 168, 212), (220, 228, 232)),
    ((168, 176, 184), (206, 210, 212)),  # overcast
    ((206, 208, 210), (228, 228, 226)),
    ((112, 120, 156), (240, 200, 164)),  # low sun
    ((70, 88, 126), (168, 158, 168)),  # dusk
)


@dataclass(frozen=True, slots=True)
class Weather:
    """The light of one scene.

    Attributes:
        zenith: colour of the sky at the top.
        haze: colour of the sky at the horizon and of distant objects.
        light: on objects and people.
        shadow: darkness of cast shadows, 0 for none.
        clearness: distance in metres at which haze makes up 63 %.
    """

    zenith: Color
    haze: Color
    light: Light
    shadow: float
    clearness: float


def random_weather(rng: np.random.Generator) -> Weather:
    """Sun from a random side, or an overcast sky without cast shadows."""
    zenith, haze = pick(rng, _SKIES)
    sunny = chance(rng, 0.6)
    return Weather(
        zenith=vary(rng, zenith, 8),
        haze=vary(rng, haze, 8),
        light=Light(float(rng.uniform(-1, 1)), 0.38 if sunny else 0.22),
        shadow=float(rng.uniform(0.3, 0.5)) if sunny else 0.0,
        clearness=float(rng.uniform(90, 260)),
    )


class Canvas:
    """A supersampled image that is drawn in world coordinates."""

    def __init__(self, camera: Camera, weather: Weather) -> None:
        self.camera, self.weather = camera, weather
        size = (camera.width * _OVERSAMPLING, camera.height * _OVERSAMPLING)
        self._image = Image.new("RGB", size)
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """A polygon of image points (column, row)."""
        self._draw.polygon([(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in points], fill=color)

    def quad(self, corners: Sequence[tuple[float, float, float]], color: Color) -> None:
        """A polygon of world points, hazy by the distance of the first."""
        hazy = self.add_haze(color, corners[0][2])
        self.polygon([self.camera.point(*corner) for corner in corners], hazy)

    def floor(self, x0: float, x1: float, z0: float, z1: float, color: Color) -> None:
        """A rectangle on the ground."""
        self.quad([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)], color)

    def seam(self, start: tuple[float, float], end: tuple[float, float], color: Color) -> None:
        """A thin line on the ground from (x, z) to (x, z), fading with the distance."""
        line = [self.camera.point(x, 0, z) for x, z in (start, end)]
        self._draw.line(
            [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in line],
            fill=self.add_haze(color, max(start[1], end[1])),
            width=1 if max(start[1], end[1]) > 6 else 2,
        )

    def ellipse(self, center: Point, rx: float, ry: float, color: Color) -> None:
        """An ellipse around an image point."""
        (x, y), k = center, _OVERSAMPLING
        self._draw.ellipse(((x - rx) * k, (y - ry) * k, (x + rx) * k, (y + ry) * k), fill=color)

    def add_haze(self, color: Color, z: float) -> Color:
        """`color` as seen from `z` metres away."""
        return mix(color, self.weather.haze, 1 - 0.37 ** (z / self.weather.clearness))

    def sky(self, rng: np.random.Generator) -> None:
        """Fill the canvas with a gradient down to the horizon, with clouds."""
        width, height = self.camera.width, self.camera.height
        share = (np.arange(height) / self.camera.horizon).clip(0, 1)[:, None, None] ** 0.8
        top, low = np.array(self.weather.zenith), np.array(self.weather.haze)
        clouds = soft_noise(rng, width, height, columns=5, rows=9)[..., None].clip(0, 1)
        amount = float(rng.uniform(0, 0.75))
        colors = top + (low - top) * share
        colors = colors + (np.array([244, 244, 246]) - colors) * clouds * amount * (1 - share / 2)
        self._image.paste(Image.fromarray(colors.astype(np.uint8)).resize(self._image.size))

    def render(self) -> Image.Image:
        """The image at its final size."""
        return self._image.reduce(_OVERSAMPLING)


def soft_noise(
    rng: np.random.Generator, width: int, height: int, *, columns: int, rows: int
) -> NDArray[np.float64]:
    """Cloudy noise [height, width] around 0, about -1..1, of `columns` x `rows` random values."""
    coarse = rng.normal(0, 0.5, (rows, columns)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float64)


def add_texture(rng: np.random.Generator, image: Image.Image, camera: Camera) -> Image.Image:
    """`image` with blotches, and a grain on the ground that shrinks with distance."""
    colors = np.asarray(image, np.float64)
    height, width = colors.shape[:2]
    factor = 1 + 0.05 * soft_noise(rng, width, height, columns=6, rows=6)
    first = int(camera.horizon) + 2
    rows = np.arange(first, height) + 0.5
    z = camera.eye * camera.focal / (rows - camera.horizon)
    x = (np.arange(width) - camera.middle)[None, :] * z[:, None] / camera.focal
    grain = rng.normal(0, 1, (128, 128))
    strength = float(rng.uniform(0.02, 0.07))
    for cells in (3, 14, 45):  # grains per metre
        fade = np.minimum(1, camera.focal / z / cells / 1.5)[:, None]
        column = (x * cells).astype(np.int64) % 128
        row = (z * cells).astype(np.int64)[:, None] % 128
        factor[first:] += strength * 0.6 * fade * grain[row, column]
    return Image.fromarray((colors * factor[..., None]).clip(0, 255).astype(np.uint8))
