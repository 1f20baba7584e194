"""A scene after dark: little light from the sky, warm pools under street lamps, a noisy sensor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .paint import Light, vary
from .scenery import Camera, Weather

_LAMP = np.array([1.0, 0.78, 0.5], np.float32)  # sodium and warm LED lamps, relative RGB
_SKY = np.array([0.72, 0.84, 1.15], np.float32)  # what little light the sky gives is bluish
_LAMP_HEIGHT = 5.0  # metres


def night_weather(rng: np.random.Generator) -> Weather:
    """A dark sky above the glow of a town, and light without a direction."""
    return Weather(
        zenith=vary(rng, (34, 38, 62), 8),
        haze=vary(rng, (96, 88, 92), 10),
        light=Light(float(rng.uniform(-1, 1)), 0.2),
        shadow=0.0,
        clearness=float(rng.uniform(60, 160)),
    )


def after_dark(rng: np.random.Generator, image: Image.Image, camera: Camera) -> Image.Image:
    """`image` as a camera sees it at night.

    Args:
        rng: source of randomness.
        image: the scene as drawn, with things and people.
        camera: that looks at it; lamps stand on its ground.
    """
    colors = np.asarray(image, np.float32) / 255
    height, width = colors.shape[:2]
    light = _SKY * float(rng.uniform(0.5, 0.75)) * np.ones((height, width, 1), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        light = light + _pool(rng, camera, height, width)[..., None] * _LAMP
    exposed = colors * light
    # Few photons: noise that grows with the root of the signal, and some in the dark.
    sigma = float(rng.uniform(0.008, 0.025)) * np.sqrt(exposed + 0.05)
    noisy = exposed + sigma * rng.standard_normal(exposed.shape, np.float32)
    return Image.fromarray((noisy.clip(0, 1) * 255).round().astype(np.uint8))


def _pool(rng: np.random.Generator, camera: Camera, height: int, width: int) -> NDArray[np.float32]:
    """The light [H, W] of one lamp: an ellipse on the ground that reaches up to the lamp."""
    z = float(rng.uniform(1.5, 7)) * camera.nearest
    x = float(rng.uniform(-0.5, 0.5)) * width * z / camera.focal
    column, row = camera.point(x, 0.3 * _LAMP_HEIGHT, z)
    reach = camera.scale(z) * _LAMP_HEIGHT
    across = (np.arange(width, dtype=np.float32) - column) / reach
    down = (np.arange(height, dtype=np.float32) - row) / (0.8 * reach)
    strength = float(rng.uniform(0.2, 0.6))
    pool = strength * np.exp(-(across[None, :] ** 2) - down[:, None] ** 2)
    return pool.astype(np.float32)
