"""One generated street with the ids of its people: things on a background, occlusion, shadows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from . import objects
from .appearance import random_appearance, random_pose
from .night import after_dark, night_weather
from .paint import Cutout, chance, pick
from .people import draw_person
from .places import Place, Zone, draw_place
from .scenery import (
    Camera,
    Canvas,
    Weather,
    add_texture,
    random_camera,
    random_weather,
)

# A person with less visible is left out of the scene, not just of the mask: a visible person must
# never be labelled as background.
VISIBLE_PIXELS, VISIBLE_SHARE = 40, 0.45
OPAQUE = 128  # alpha from which a pixel belongs to an object


@dataclass(frozen=True, slots=True)
class Thing:
    """An object or person in the scene.

    Attributes:
        cutout: its drawing.
        foot: column and row where it touches the ground.
        z: metres from the camera.
        person: whether it is a person, who gets an id.
    """

    cutout: Cutout
    foot: tuple[int, int]
    z: float
    person: bool

    @property
    def corner(self) -> tuple[int, int]:
        """Column and row of the cutout's upper left corner; may lie outside the image."""
        return self.foot[0] + self.cutout.left, self.foot[1] + self.cutout.top


def stand(cutout: Cutout, camera: Camera, *, x: float, z: float, person: bool) -> Thing:
    """Put a cutout on the ground point (x, z) in metres."""
    column, row = camera.point(x, 0, z)
    return Thing(cutout, (round(column), round(row)), z, person)


def without_hidden_people(things: Sequence[Thing], size: tuple[int, int]) -> list[Thing]:
    """Remove people who are (almost) hidden or outside the image.

    Removing a person only uncovers others, so that one pass is enough.

    Args:
        things: the farthest first.
        size: height and width of the image.
    """
    owner = np.full(size, -1)
    for number, thing in enumerate(things):
        rows, columns, solid = _covered_region(thing, size)
        owner[rows, columns][solid] = number
    return [
        thing
        for number, thing in enumerate(things)
        if not thing.person or _recognisable(thing, owner == number)
    ]


def ids_of(things: Sequence[Thing], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Ids uint8 [H, W]: 1..N on the visible pixels of the people among `things`, 0 elsewhere.

    Args:
        things: the farthest first.
        size: height and width of the image.
    """
    ids = np.zeros(size, np.uint8)
    people = 0
    for thing in things:
        rows, columns, solid = _covered_region(thing, size)
        people += thing.person
        ids[rows, columns][solid] = people if thing.person else 0
    return ids


def paste_things(image: Image.Image, things: Sequence[Thing], weather: Weather) -> Image.Image:
    """Paste all `things`, the farthest first, with haze by distance."""
    image = image.copy()
    for thing in things:
        hazy = _add_haze(thing.cutout.image, thing.z, weather)
        image.paste(hazy, thing.corner, hazy)
    return image


def draw_shadows(
    rng: np.random.Generator,
    image: Image.Image,
    things: Sequence[Thing],
    camera: Camera,
    weather: Weather,
) -> Image.Image:
    """Darken the ground where things stand, and where they cast a shadow."""
    shadow = Image.new("L", image.size)
    slant, squash = weather.light.side * -1.3, float(rng.uniform(-0.35, 0.3))
    squash += math.copysign(0.12, squash)
    for thing in things:
        _contact_shadow(shadow, thing)
        if weather.shadow:
            _cast_shadow(shadow, thing, slant, squash, round(255 * weather.shadow))
    shadow.paste(0, (0, 0, image.width, max(0, int(camera.horizon))))
    soft = shadow.filter(ImageFilter.GaussianBlur(0.8))
    cool = Image.new("RGB", image.size, (16, 18, 28))
    return Image.composite(cool, image, soft)


def _contact_shadow(shadow: Image.Image, thing: Thing) -> None:
    """Draw the dark patch right under a thing."""
    wide = thing.cutout.image.width * 0.36
    high = max(1.0, min(wide * 0.3, 7))
    size = (max(1, round(wide * 2)), max(1, round(high * 2)))
    rows, columns = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    patch = Image.fromarray((115 * (1 - rows**2 - columns**2).clip(0, 1)).astype(np.uint8))
    left = thing.foot[0] + thing.cutout.left + thing.cutout.image.width // 2 - size[0] // 2
    _darken(shadow, patch, (left, thing.foot[1] - size[1] // 2))


def _cast_shadow(
    shadow: Image.Image, thing: Thing, slant: float, squash: float, darkness: int
) -> None:
    """Project the outline to the ground: `slant` sideways, `squash` down (+) or up (-)."""
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
    projected = alpha.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    top = thing.foot[1] if squash > 0 else thing.foot[1] - size[1]
    _darken(shadow, projected, (round(thing.corner[0] + low), top))


def _darken(shadow: Image.Image, patch: Image.Image, corner: tuple[int, int]) -> None:
    """Add a patch of shadow; the darker value counts."""
    box = (*corner, corner[0] + patch.width, corner[1] + patch.height)
    shadow.paste(ImageChops.lighter(shadow.crop(box), patch), corner)


def _add_haze(image: Image.Image, z: float, weather: Weather) -> Image.Image:
    """The cutout as seen from `z` metres away."""
    haze = Image.new("RGBA", image.size, (*weather.haze, 255))
    veiled = Image.blend(image, haze, 1 - 0.37 ** (z / weather.clearness))
    veiled.putalpha(image.getchannel("A"))
    return veiled


def _recognisable(thing: Thing, seen: NDArray[np.bool_]) -> bool:
    """Whether the visible part [H, W] of a person is large enough to be labelled."""
    whole = int((np.asarray(thing.cutout.image.getchannel("A")) >= OPAQUE).sum())
    thickness = min(seen.any(axis=0).sum(), seen.any(axis=1).sum())
    return bool(seen.sum() >= max(VISIBLE_PIXELS, VISIBLE_SHARE * whole) and thickness >= 3)


def _covered_region(thing: Thing, size: tuple[int, int]) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Rows and columns of the image that the thing spans, and its opaque pixels [h, w] there."""
    left, top = thing.corner
    width, height = thing.cutout.image.size
    x0, x1 = min(max(left, 0), size[1]), max(0, min(left + width, size[1]))
    y0, y1 = min(max(top, 0), size[0]), max(0, min(top + height, size[0]))
    alpha = np.asarray(thing.cutout.image.getchannel("A"))
    solid = (
        alpha[max(0, y0 - top) : max(0, y1 - top), max(0, x0 - left) : max(0, x1 - left)] >= OPAQUE
    )
    return slice(y0, y1), slice(x0, x1), solid


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
    objects.bicycle,
    objects.bicycle,
)
_GREENERY: tuple[objects.DrawObject, ...] = (
    objects.tree,
    objects.tree,
    objects.bush,
    objects.bush,
    objects.bench,
    objects.lamp,
    objects.litter_bin,
    objects.bicycle,
    objects.dog,
)


def draw_street(
    rng: np.random.Generator, *, width: int, height: int, night: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one street scene.

    Args:
        rng: the only source of randomness; the same state gives the same scene.
        width: of the image in pixels.
        height: of the image in pixels.
        night: whether it is dark but for street lamps.

    Returns:
        The image, uint8 [H, W, 3] RGB, and the ids, uint8 [H, W]: 0 for the background, 1..N on
        the visible pixels of people. N may be 0.
    """
    camera = random_camera(rng, width=width, height=height)
    weather = night_weather(rng) if night else random_weather(rng)
    canvas = Canvas(camera, weather)
    place = draw_place(rng, canvas)
    image = add_texture(rng, canvas.render(), camera)
    things = _place_objects(rng, camera, weather, place)
    if not chance(rng, EMPTY_SHARE):
        things += _place_people(rng, camera, weather, place)
    things.sort(key=lambda thing: -thing.z)
    things = without_hidden_people(things, (height, width))
    image = draw_shadows(rng, image, things, camera, weather)
    image = paste_things(image, things, weather)
    if night:
        image = after_dark(rng, image, camera)
    return _simulate_camera(rng, image), ids_of(things, (height, width))


def _place_objects(
    rng: np.random.Generator, camera: Camera, weather: Weather, place: Place
) -> list[Thing]:
    """Place furniture, plants and vehicles."""
    furniture = _GREENERY if place.green else _FURNITURE
    plan = [(pick(rng, furniture), pick(rng, place.edges)) for _ in range(int(rng.integers(2, 8)))]
    vehicle = objects.car if place.sideways else objects.oncoming_car
    plan += [(vehicle, zone) for zone in place.lanes for _ in range(int(rng.integers(0, 3)))]
    if chance(rng, 0.15):
        plan.append((objects.dog, pick(rng, place.walks)))
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
