"""A generated street on which people cross from both sides: a video to try tracking on.

    python examples/street_video.py street.mp4 --seconds 6

Each of them crosses the middle of the image once, so the right counts are known: they are printed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pedseg_train.synthetic.appearance import Appearance, random_appearance, random_pose
from pedseg_train.synthetic.people import draw_person
from pedseg_train.synthetic.places import Zone, draw_place
from pedseg_train.synthetic.scenery import (
    Camera,
    Canvas,
    Weather,
    add_texture,
    random_camera,
    random_weather,
)
from pedseg_train.synthetic.street import Thing, draw_shadows, paste_things, stand

STRIDE = 1.5  # metres of two steps
HEIGHTS = (60, 150)  # of people, in pixels


@dataclass(frozen=True)
class Walker:
    """A person who walks to the right (direction 1) or to the left (-1) at a distance.

    Attributes:
        crossing: the second at which the middle of the image is reached.
        z: metres from the camera.
        speed: metres a second.
        seed: of the pose.
    """

    appearance: Appearance
    direction: int
    crossing: float
    z: float
    speed: float
    seed: int

    def at(self, time: float, camera: Camera, weather: Weather) -> Thing:
        """The walker at a time in seconds, ready to be pasted."""
        x = self.direction * self.speed * (time - self.crossing)
        pose = random_pose(
            np.random.default_rng(self.seed),
            build=self.appearance.build,
            yaw=self.direction * math.pi / 2,
            phase=2 * math.pi * self.speed * time / STRIDE,
        )
        cutout = draw_person(self.appearance, pose, scale=camera.scale(self.z), light=weather.light)
        centre = x + (camera.width / 2 - camera.middle) * self.z / camera.focal
        return stand(cutout, camera, x=centre, z=self.z, person=True)


@dataclass(frozen=True)
class Street:
    """An empty street with its camera and weather, and those who will cross it."""

    image: Image.Image
    camera: Camera
    weather: Weather
    walkers: list[Walker]

    @classmethod
    def make(cls, *, seed: int, size: tuple[int, int], people: int, seconds: float) -> Street:
        """A random street of `size` (height, width)."""
        rng = np.random.default_rng(seed)
        camera = random_camera(rng, height=size[0], width=size[1])
        weather = random_weather(rng)
        canvas = Canvas(camera, weather)
        place = draw_place(rng, canvas)
        image = add_texture(rng, canvas.render(), camera)
        walkers = [
            Walker(
                random_appearance(rng),
                direction=1 if number % 2 else -1,
                crossing=seconds * (number + 0.5) / people,
                z=_distance(rng, place.walks, camera),
                speed=float(rng.uniform(1.1, 1.6)),
                seed=int(rng.integers(1 << 30)),
            )
            for number in range(people)
        ]
        return cls(image, camera, weather, walkers)

    def draw(self, time: float) -> NDArray[np.uint8]:
        """The street at a time in seconds, uint8 [H, W, 3] RGB."""
        things = [walker.at(time, self.camera, self.weather) for walker in self.walkers]
        things.sort(key=lambda thing: -thing.z)
        still = np.random.default_rng(0)  # the sun does not move
        image = draw_shadows(still, self.image, things, self.camera, self.weather)
        return np.asarray(paste_things(image, things, self.weather))


def _distance(rng: np.random.Generator, zones: tuple[Zone, ...], camera: Camera) -> float:
    """A distance at which people walk and are of a good height in the image."""
    low, high = (1.7 * camera.focal / height for height in reversed(HEIGHTS))
    zone = zones[int(rng.integers(len(zones)))]
    return float(np.clip(rng.uniform(zone.z0, zone.z1), low, high))


def write_video(
    path: Path, frames: Iterator[NDArray[np.uint8]], *, size: tuple[int, int], rate: int
) -> None:
    """Write frames, uint8 [H, W, 3] RGB of an even `size` (height, width), as MP4."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = size
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--seconds", type=float, default=6.0, show_default=True)
@click.option("--rate", type=int, default=10, show_default=True, help="Frames a second.")
@click.option("--people", type=int, default=6, show_default=True)
@click.option("--size", type=(int, int), default=(240, 320), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(
    path: Path, seconds: float, rate: int, people: int, size: tuple[int, int], seed: int
) -> None:
    """Write a generated street as an MP4 video to PATH."""
    street = Street.make(seed=seed, size=size, people=people, seconds=seconds)
    times = np.arange(round(seconds * rate)) / rate
    write_video(path, (street.draw(float(time)) for time in times), size=size, rate=rate)
    right = sum(walker.direction > 0 for walker in street.walkers)
    click.echo(f"{path}: {len(times)} frames; {right} to the right, {people - right} to the left")


if __name__ == "__main__":
    main()
