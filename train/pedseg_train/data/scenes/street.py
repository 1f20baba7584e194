"""A complete generated scene: image and instance ids."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from . import objects, vehicles
from .backgrounds import Canvas, Weather, add_texture, random_weather
from .camera import Camera, random_camera
from .composition import (
    Thing,
    draw_shadows,
    ids_of,
    paste_things,
    stand,
    without_hidden_people,
)
from .figures import draw_person
from .paint import chance, pick
from .places import Place, Zone, draw_place
from .pose import random_pose
from .wardrobe import random_appearance

EMPTY_SHARE = 0.08
MIN_HEIGHT, MAX_HEIGHT = 36.0, 200.0  # of an adult, in pixels; children are smaller

_FURNITURE: tuple[objects.DrawObject, ...] = (
    objects.lamp,
    objects.lamp,
    objects.traffic_light,
    objects.litter_bin,
    objects.post_box,
    objects.hydrant,
    objects.bollard,
    objects.sign,
    objects.sign,
    objects.cone,
    objects.bush,
    objects.tree,
    objects.board,
    vehicles.bicycle,
    vehicles.bicycle,
)
_GREENERY: tuple[objects.DrawObject, ...] = (
    objects.tree,
    objects.tree,
    objects.bush,
    objects.bush,
    objects.bench,
    objects.lamp,
    objects.litter_bin,
    vehicles.bicycle,
    vehicles.dog,
)


def draw_street(
    rng: np.random.Generator, *, width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one street scene.

    Args:
        rng: the only source of randomness; the same state gives the same scene.
        width: of the image in pixels.
        height: of the image in pixels.

    Returns:
        The image, uint8 [H, W, 3] RGB, and the ids, uint8 [H, W]: 0 for the background, 1..N on
        the visible pixels of people. N may be 0.
    """
    camera, weather = random_camera(rng, width=width, height=height), random_weather(rng)
    canvas = Canvas(camera, weather)
    place = draw_place(rng, canvas)
    image = add_texture(rng, canvas.render(), camera)
    things = _place_objects(rng, camera, weather, place)
    if not chance(rng, EMPTY_SHARE):
        things += _place_people(rng, camera, weather, place)
    things.sort(key=lambda thing: -thing.z)
    things = without_hidden_people(things, (height, width))
    image = draw_shadows(rng, image, things, camera, weather)
    return _simulate_camera(rng, paste_things(image, things, weather)), ids_of(
        things, (height, width)
    )


def _place_objects(
    rng: np.random.Generator, camera: Camera, weather: Weather, place: Place
) -> list[Thing]:
    """Place furniture, plants and vehicles."""
    furniture = _GREENERY if place.green else _FURNITURE
    plan = [(pick(rng, furniture), pick(rng, place.edges)) for _ in range(int(rng.integers(2, 8)))]
    vehicle = vehicles.car if place.sideways else vehicles.oncoming_car
    plan += [(vehicle, zone) for zone in place.lanes for _ in range(int(rng.integers(0, 3)))]
    if chance(rng, 0.15):
        plan.append((vehicles.dog, pick(rng, place.walks)))
    things: list[Thing] = []
    taken: list[tuple[float, float]] = []
    for draw, zone in plan:
        # A minimum distance, or one thing could hide half the image.
        low = max(zone.z0, 1.4 * camera.nearest)
        z = float(rng.uniform(low, max(low + 0.1, min(zone.z1, 30))))
        left, right = _visible_range(zone, z, camera)
        x = float(rng.uniform(min(left, right), max(left, right)))
        space = 5.0 if draw is vehicle else 1.2
        if all(math.hypot(x - other[0], z - other[1]) > space for other in taken):
            taken.append((x, z))
            cutout = draw(rng, camera.scale(z), weather.light)
            things.append(stand(cutout, camera, x=x, z=z, person=False))
    return things


def _place_people(
    rng: np.random.Generator, camera: Camera, weather: Weather, place: Place
) -> list[Thing]:
    """Place people, alone and in groups, at distances that the place allows."""
    people: list[Thing] = []
    groups = 1 + int(rng.poisson(1.8))
    for _ in range(groups):
        x, z = _walking_spot(rng, camera, place)
        yaw = pick(rng, place.yaws) + float(rng.normal(0, 0.3))
        size = 1 + int(chance(rng, 0.4)) + int(chance(rng, 0.12))
        for member in range(size):
            appearance = random_appearance(rng)
            pose = random_pose(rng, build=appearance.build, yaw=yaw + float(rng.normal(0, 0.15)))
            at = z * (1 + 0.06 * member * float(rng.uniform(-1, 1)))
            cutout = draw_person(appearance, pose, scale=camera.scale(at), light=weather.light)
            beside = x + member * float(rng.uniform(0.4, 0.75)) * pick(rng, (-1, 1))
            people.append(stand(cutout, camera, x=beside, z=at, person=True))
    return people


def _walking_spot(rng: np.random.Generator, camera: Camera, place: Place) -> tuple[float, float]:
    """A visible ground point (x, z) where people walk, more often near than far."""
    tall, small = math.log(MAX_HEIGHT), math.log(MIN_HEIGHT)
    for _ in range(40):
        z = camera.focal * 1.7 / math.exp(small + (tall - small) * float(rng.random()) ** 0.25)
        spans = [_visible_range(zone, z, camera) for zone in place.walks if zone.z0 <= z <= zone.z1]
        wide = [(low, high) for low, high in spans if low < high]
        if wide:
            low, high = pick(rng, wide)
            return float(rng.uniform(low, high)), z
    return 0.0, 2.5 * camera.nearest


def _visible_range(zone: Zone, z: float, camera: Camera) -> tuple[float, float]:
    """The visible x range of the zone at distance `z`; reversed if empty."""
    left = -camera.middle * z / camera.focal
    right = (camera.width - camera.middle) * z / camera.focal
    return max(zone.x0, left), min(zone.x1, right)


def _simulate_camera(rng: np.random.Generator, image: Image.Image) -> NDArray[np.uint8]:
    """Exposure, white balance, vignette, a little blur and sensor noise."""
    blurred = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0, 0.7))))
    colors = np.asarray(blurred, np.float32) / 255
    height, width = colors.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - float(rng.uniform(0, 0.22)) * (x * x + y * y) / 2
    gamma, gain = float(rng.uniform(0.82, 1.22)), float(rng.uniform(0.82, 1.12))
    balance = rng.normal(1, 0.025, 3)
    colors = colors**gamma * (gain * balance * vignette[..., None]).astype(np.float32)
    noise = rng.standard_normal((height, width, 3), np.float32) * float(rng.uniform(0.004, 0.022))
    developed: NDArray[np.uint8] = ((colors + noise).clip(0, 1) * 255).round().astype(np.uint8)
    return developed
