"""Compose objects and people on a background: occlusion, shadows, ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from .backgrounds import Weather
from .camera import Camera
from .paint import Cutout

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
