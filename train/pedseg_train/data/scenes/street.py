"""One generated picture with the ids of its people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from . import objects, vehicles
from .backgrounds import Canvas, Weather, random_weather, roughened
from .camera import Camera, random_camera
from .figures import draw_person
from .paint import Cutout, chance, pick
from .places import Place, Zone, draw_place
from .pose import random_pose
from .wardrobe import random_look

EMPTY_SHARE = 0.08
SMALLEST, TALLEST = 20.0, 200.0  # of a person, in pixels
# A person of whom less is visible is left out of the scene, not just out of the mask: training
# must not be told that somebody who can be seen is background.
VISIBLE_PIXELS, VISIBLE_SHARE = 30, 0.12

_FURNITURE: tuple[objects.Draw, ...] = (
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
_GREENERY: tuple[objects.Draw, ...] = (
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


@dataclass(frozen=True, slots=True)
class _Thing:
    """Something that stands in the scene.

    Attributes:
        cutout: its picture.
        foot: column and row where it touches the ground.
        z: metres from the camera.
        person: whether it gets an id.
    """

    cutout: Cutout
    foot: tuple[int, int]
    z: float
    person: bool

    @property
    def corner(self) -> tuple[int, int]:
        """Column and row of the cutout's upper left corner; may lie outside the picture."""
        return self.foot[0] + self.cutout.left, self.foot[1] + self.cutout.top


def draw_street(
    rng: np.random.Generator, *, width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One street scene.

    Args:
        rng: decides everything; the same state gives the same scene.
        width: of the picture in pixels.
        height: of the picture in pixels.

    Returns:
        The picture, uint8 [H, W, 3] RGB, and the ids, uint8 [H, W]: 0 for the background, 1..N for
        people, on the pixels where they are visible. N may be 0.
    """
    camera, weather = random_camera(rng, width=width, height=height), random_weather(rng)
    canvas = Canvas(camera, weather)
    place = draw_place(rng, canvas)
    picture = roughened(rng, canvas.finished(), camera)
    things = _furnish(rng, camera, weather, place)
    if not chance(rng, EMPTY_SHARE):
        things += _populate(rng, camera, weather, place)
    things.sort(key=lambda thing: -thing.z)
    things, ids = _visible(things, (height, width))
    picture = _with_shadows(rng, picture, things, camera, weather)
    for thing in things:
        hazy = _hazed(thing.cutout.image, thing.z, weather)
        picture.paste(hazy, thing.corner, hazy)
    return _photographed(rng, picture), ids


def _furnish(
    rng: np.random.Generator, camera: Camera, weather: Weather, place: Place
) -> list[_Thing]:
    """Everything that is no person."""
    furniture = _GREENERY if place.green else _FURNITURE
    plan = [(pick(rng, furniture), pick(rng, place.edges)) for _ in range(int(rng.integers(2, 8)))]
    vehicle = vehicles.car if place.sideways else vehicles.oncoming_car
    plan += [(vehicle, zone) for zone in place.lanes for _ in range(int(rng.integers(0, 3)))]
    if chance(rng, 0.15):
        plan.append((vehicles.dog, pick(rng, place.walks)))
    things: list[_Thing] = []
    taken: list[tuple[float, float]] = []
    for draw, zone in plan:
        # Not so near that one thing hides half the picture.
        low = max(zone.z0, 1.4 * camera.nearest)
        z = float(rng.uniform(low, max(low + 0.1, min(zone.z1, 30))))
        left, right = _seen_span(zone, z, camera)
        x = float(rng.uniform(min(left, right), max(left, right)))
        space = 5.0 if draw is vehicle else 1.2
        if all(math.hypot(x - other[0], z - other[1]) > space for other in taken):
            taken.append((x, z))
            cutout = draw(rng, camera.scale(z), weather.light)
            things.append(_placed(cutout, x, z, camera, person=False))
    return things


def _populate(
    rng: np.random.Generator, camera: Camera, weather: Weather, place: Place
) -> list[_Thing]:
    """People, alone and in company, of all sizes that the place allows."""
    people: list[_Thing] = []
    groups = 1 + int(rng.poisson(2.3))
    for _ in range(groups):
        x, z = _walking_spot(rng, camera, place)
        yaw = pick(rng, place.yaws) + float(rng.normal(0, 0.3))
        company = 1 + int(chance(rng, 0.4)) + int(chance(rng, 0.12))
        for member in range(company):
            look = random_look(rng)
            pose = random_pose(rng, build=look.build, yaw=yaw + float(rng.normal(0, 0.15)))
            at = z * (1 + 0.06 * member * float(rng.uniform(-1, 1)))
            cutout = draw_person(look, pose, scale=camera.scale(at), light=weather.light)
            beside = x + member * float(rng.uniform(0.4, 0.75)) * pick(rng, (-1, 1))
            people.append(_placed(cutout, beside, at, camera, person=True))
    return people


def _walking_spot(rng: np.random.Generator, camera: Camera, place: Place) -> tuple[float, float]:
    """A visible ground point (x, z) where people walk; large and small are about equally likely."""
    tall, small = math.log(TALLEST), math.log(SMALLEST * 1.5)
    for _ in range(40):
        z = camera.focal * 1.7 / math.exp(small + (tall - small) * float(rng.random()) ** 0.7)
        spans = [_seen_span(zone, z, camera) for zone in place.walks if zone.z0 <= z <= zone.z1]
        wide = [(low, high) for low, high in spans if low < high]
        if wide:
            low, high = pick(rng, wide)
            return float(rng.uniform(low, high)), z
    return 0.0, 2.5 * camera.nearest


def _seen_span(zone: Zone, z: float, camera: Camera) -> tuple[float, float]:
    """From where to where (x) the camera sees the zone at distance `z`; reversed if nowhere."""
    left = -camera.middle * z / camera.focal
    right = (camera.width - camera.middle) * z / camera.focal
    return max(zone.x0, left), min(zone.x1, right)


def _placed(cutout: Cutout, x: float, z: float, camera: Camera, *, person: bool) -> _Thing:
    column, row = camera.point(x, 0, z)
    return _Thing(cutout, (round(column), round(row)), z, person)


def _visible(
    things: Sequence[_Thing], size: tuple[int, int]
) -> tuple[list[_Thing], NDArray[np.uint8]]:
    """Leave out people who are (almost) hidden; draw the ids of the others.

    Args:
        things: the farthest first.
        size: height and width of the picture.

    Returns:
        What is left, and the ids, uint8 [H, W]. A pixel belongs to a thing that covers at least
        half of it. Leaving somebody out only uncovers others, so one pass is enough.
    """
    owner = np.zeros(size, np.int64)
    for number, thing in enumerate(things, 1):
        rows, columns, solid = _footprint(thing, size)
        owner[rows, columns][solid] = number
    kept, ids = [], np.zeros(size, np.uint8)
    people = 0
    for number, thing in enumerate(things, 1):
        solid = _footprint(thing, size)[2]
        whole = int((np.asarray(thing.cutout.image.getchannel("A")) >= 128).sum())
        seen = owner == number
        needed = max(VISIBLE_PIXELS, VISIBLE_SHARE * whole)
        if thing.person and (seen.sum() < needed or _flat(seen)):
            continue
        kept.append(thing)
    for thing in kept:
        rows, columns, solid = _footprint(thing, size)
        people += thing.person
        ids[rows, columns][solid] = people if thing.person else 0
    return kept, ids


def _flat(seen: NDArray[np.bool_]) -> bool:
    """Whether a mask [H, W] is too thin for a box."""
    return bool(min(seen.any(axis=0).sum(), seen.any(axis=1).sum()) < 3)


def _footprint(thing: _Thing, size: tuple[int, int]) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Rows and columns of the picture that the thing reaches, and what it covers of them."""
    left, top = thing.corner
    width, height = thing.cutout.image.size
    x0, x1 = min(max(left, 0), size[1]), max(0, min(left + width, size[1]))
    y0, y1 = min(max(top, 0), size[0]), max(0, min(top + height, size[0]))
    alpha = np.asarray(thing.cutout.image.getchannel("A"))
    solid = alpha[max(0, y0 - top) : max(0, y1 - top), max(0, x0 - left) : max(0, x1 - left)] >= 128
    return slice(y0, y1), slice(x0, x1), solid


def _with_shadows(
    rng: np.random.Generator,
    picture: Image.Image,
    things: Sequence[_Thing],
    camera: Camera,
    weather: Weather,
) -> Image.Image:
    """Darken the ground where things stand, and where they keep the sun off."""
    shadow = Image.new("L", picture.size)
    slant, squash = weather.light.side * -1.3, float(rng.uniform(-0.35, 0.3))
    squash += math.copysign(0.12, squash)
    for thing in things:
        _touching(shadow, thing)
        if weather.shadow:
            _cast(shadow, thing, slant, squash, round(255 * weather.shadow))
    shadow.paste(0, (0, 0, picture.width, max(0, int(camera.horizon))))
    soft = shadow.filter(ImageFilter.GaussianBlur(0.8))
    cool = Image.new("RGB", picture.size, (16, 18, 28))
    return Image.composite(cool, picture, soft)


def _touching(shadow: Image.Image, thing: _Thing) -> None:
    """The dark patch right under a thing."""
    wide = thing.cutout.image.width * 0.36
    high = max(1.0, min(wide * 0.3, 7))
    size = (max(1, round(wide * 2)), max(1, round(high * 2)))
    rows, columns = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    patch = Image.fromarray((115 * (1 - rows**2 - columns**2).clip(0, 1)).astype(np.uint8))
    left = thing.foot[0] + thing.cutout.left + thing.cutout.image.width // 2 - size[0] // 2
    _lay(shadow, patch, (left, thing.foot[1] - size[1] // 2))


def _cast(shadow: Image.Image, thing: _Thing, slant: float, squash: float, darkness: int) -> None:
    """The thing's outline laid on the ground: `slant` sideways, `squash` down (+) or up (-)."""
    alpha = thing.cutout.image.getchannel("A").point(lambda value: value * darkness // 255)
    width, height = alpha.size
    up = -thing.cutout.top  # rows above the ground
    low, high = sorted((0.0, slant * up))
    size = (round(width + high - low), max(1, round(abs(squash) * height)))
    # Output (u, v) comes from input (x, y): y from v, then x = u minus what the slant moved.
    if squash > 0:
        a_y, c_y = -1 / squash, float(up)
    else:
        a_y, c_y = 1 / -squash, float(up - size[1] / -squash)
    matrix = (1.0, slant * a_y, low + slant * (c_y - up), 0.0, a_y, c_y)
    laid = alpha.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    top = thing.foot[1] if squash > 0 else thing.foot[1] - size[1]
    _lay(shadow, laid, (round(thing.corner[0] + low), top))


def _lay(shadow: Image.Image, patch: Image.Image, corner: tuple[int, int]) -> None:
    """Add a patch where it is darker than what is there."""
    box = (*corner, corner[0] + patch.width, corner[1] + patch.height)
    shadow.paste(ImageChops.lighter(shadow.crop(box), patch), corner)


def _hazed(image: Image.Image, z: float, weather: Weather) -> Image.Image:
    """The cutout as it looks from `z` metres away."""
    haze = Image.new("RGBA", image.size, (*weather.haze, 255))
    veiled = Image.blend(image, haze, 1 - 0.37 ** (z / weather.clearness))
    veiled.putalpha(image.getchannel("A"))
    return veiled


def _photographed(rng: np.random.Generator, picture: Image.Image) -> NDArray[np.uint8]:
    """Exposure, white balance, vignette, a little blur and sensor noise."""
    blurred = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0, 0.7))))
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
