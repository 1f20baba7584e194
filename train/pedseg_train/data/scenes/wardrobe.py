"""A person's appearance: body, hair, clothes and bags."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from .paint import Color, Fabric, chance, clipped_normal, pick, vary

SKIN: tuple[Color, ...] = (
    (246, 214, 190),
    (233, 190, 162),
    (219, 170, 136),
    (196, 143, 106),
    (164, 112, 78),
    (128, 84, 58),
    (94, 60, 42),
    (70, 45, 34),
)
HAIR: tuple[Color, ...] = (
    (24, 20, 18),
    (24, 20, 18),
    (52, 36, 26),
    (84, 56, 36),
    (122, 82, 48),
    (196, 158, 96),
    (148, 66, 34),
    (160, 158, 156),
    (222, 220, 214),
)
# Common clothes: black, greys, navy, denim, beige, olive, brown, white, wine.
MUTED: tuple[Color, ...] = (
    (30, 30, 34),
    (44, 46, 54),
    (74, 78, 86),
    (126, 128, 132),
    (34, 44, 74),
    (58, 80, 118),
    (92, 116, 150),
    (190, 172, 142),
    (96, 96, 64),
    (104, 74, 54),
    (236, 234, 228),
    (96, 36, 46),
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """A person's appearance. Lengths are shares of the height unless a unit is given.

    Attributes:
        height: in metres.
        build: relative width, 1 is average.
        head: relative size of the head, 1 is an adult's.
        skin: colour.
        hair: colour.
        hairstyle: "short", "long", "bun", "ponytail", "bald" or "afro".
        top: fabric of shirt, jacket or coat.
        sleeves: their end: 0.5 the elbow, 1 the wrist.
        coat: height of the upper garment's hem: about 0.48 for a shirt, 0.3 for a coat.
        open_front: colour under an open jacket, or None.
        bottom: fabric of trousers or skirt.
        skirt: height of a skirt's hem, or None for trousers.
        legs: end of the trousers: 0.5 the knee, 1 the ankle.
        tights: colour of the leg below skirt or trousers.
        shoes: colour.
        hat: "none", "cap", "beanie", "brim" or "hood".
        hat_color: colour.
        bag: "none", "backpack", "shoulder", "handbag" or "shopping".
        bag_color: colour.
        beard: whether the person has one.
        glasses: whether the person wears any.
    """

    height: float
    build: float
    head: float
    skin: Color
    hair: Color
    hairstyle: str
    top: Fabric
    sleeves: float
    coat: float
    open_front: Color | None
    bottom: Fabric
    skirt: float | None
    legs: float
    tights: Color
    shoes: Color
    hat: str
    hat_color: Color
    bag: str
    bag_color: Color
    beard: bool
    glasses: bool


def random_appearance(rng: np.random.Generator) -> Appearance:
    """A random adult or, rarely, child in summer or winter clothes."""
    child = chance(rng, 0.12)
    warm = chance(rng, 0.45)
    skirted = chance(rng, 0.24)
    skin = vary(rng, pick(rng, SKIN), 6)
    top, bottom = _fabric(rng, patterned=0.42), Fabric(_cloth(rng, muted=0.9))
    if skirted and chance(rng, 0.4):
        bottom = top  # a dress
    coat = float(rng.uniform(0.27, 0.42)) if not warm and chance(rng, 0.4) else 0.475
    return Appearance(
        height=float(rng.uniform(1.0, 1.45)) if child else clipped_normal(rng, 1.70, 0.08),
        build=clipped_normal(rng, 1.0, 0.1),
        head=float(rng.uniform(1.18, 1.35) if child else rng.uniform(0.96, 1.06)),
        skin=skin,
        hair=_hair(rng, skin, child),
        hairstyle=pick(
            rng,
            ("long", "long", "bun", "ponytail", "short")
            if skirted
            else ("short", "short", "short", "long", "afro", "bald", "ponytail"),
        ),
        top=top,
        sleeves=float(rng.choice([0.42, 1.0, 0.05]) if warm else 1.0),
        coat=coat,
        open_front=_cloth(rng, muted=0.6) if not warm and chance(rng, 0.45) else None,
        bottom=bottom,
        skirt=float(rng.uniform(0.2, 0.42)) if skirted else None,
        legs=0.48 if warm and chance(rng, 0.35) else 1.0,
        tights=skin if warm or chance(rng, 0.3) else vary(rng, (40, 38, 42)),
        shoes=vary(rng, pick(rng, ((28, 26, 26), (70, 46, 32), (230, 228, 224), (120, 40, 40)))),
        hat=pick(rng, ("none",) * 6 + ("cap", "brim" if warm else "beanie", "hood")),
        hat_color=_cloth(rng, muted=0.5),
        bag=pick(rng, ("none",) * 4 + ("backpack", "backpack", "shoulder", "handbag", "shopping")),
        bag_color=_cloth(rng, muted=0.55),
        beard=not skirted and not child and chance(rng, 0.2),
        glasses=chance(rng, 0.2),
    )


def _hair(rng: np.random.Generator, skin: Color, child: bool) -> Color:
    """A hair colour: dark skin goes with dark hair, grey hair with age."""
    options = HAIR[:3] if sum(skin) < 420 else HAIR[:-2]
    if not child and chance(rng, 0.2):
        options = HAIR[-2:]
    return vary(rng, pick(rng, options), 6)


def _cloth(rng: np.random.Generator, *, muted: float) -> Color:
    """A colour of clothes: muted with that probability, else bright."""
    if chance(rng, muted):
        return vary(rng, pick(rng, MUTED), 9)
    hue, saturation, value = rng.random(), rng.uniform(0.35, 0.8), rng.uniform(0.35, 0.88)
    red, green, blue = (int(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _fabric(rng: np.random.Generator, *, patterned: float) -> Fabric:
    """A random fabric, with a pattern at the probability `patterned`."""
    color = _cloth(rng, muted=0.5)
    if not chance(rng, patterned):
        return Fabric(color)
    pattern = pick(rng, ("rows", "rows", "columns", "checks", "blocks"))
    return Fabric(color, pattern, _cloth(rng, muted=0.5), float(rng.uniform(0.05, 0.16)))
