"""The camera: projection of world points to the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .paint import Point


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
