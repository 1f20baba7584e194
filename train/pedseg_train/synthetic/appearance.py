"""How a person looks and stands: body, hair, clothes, bags; joints of a walking or standing person.

A body's frame is (forward, left, up) in shares of its height; `turn` maps it to the image.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .paint import (
    Color,
    Fabric,
    Point,
    chance,
    clipped_normal,
    pick,
    vary,
)

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


Vector = tuple[float, float, float]

HIP, SHOULDER, NECK, HEAD = 0.515, 0.805, 0.855, 0.925
_THIGH, _SHIN, _FOOT, _HEEL, _ANKLE = 0.235, 0.235, 0.085, 0.035, 0.042
_UPPER_ARM, _FOREARM = 0.165, 0.155
_HIP_WIDTH, _SHOULDER_WIDTH = 0.048, 0.096
# A camera at eye height sees the ground from above: nearer points are lower in the image.
_TILT = 0.16


@dataclass(frozen=True, slots=True)
class Limb:
    """Three joints in the image, [x right, y up], and the nearness of the middle one to the camera.

    An arm is shoulder, elbow, hand; a leg is hip, knee, ankle.
    """

    upper: Point
    middle: Point
    lower: Point
    nearness: float


@dataclass(frozen=True, slots=True)
class Leg(Limb):
    """A leg with its foot."""

    heel: Point
    toe: Point


AnyLimb = TypeVar("AnyLimb", bound=Limb)


@dataclass(frozen=True, slots=True)
class Pose:
    """A posed person in the image, in fractions of the height, the lower foot at y = 0.

    Attributes:
        yaw: where the person faces: 0 the camera, pi/2 right, pi away.
        lift: offset of all points upwards that puts the lower foot on the ground.
        lean: offset of the neck from the hip, in walking direction.
        legs: the two legs, the farther one first.
        arms: the two arms, the farther one first.
    """

    yaw: float
    lift: float
    lean: float
    legs: tuple[Leg, Leg]
    arms: tuple[Limb, Limb]

    @property
    def facing(self) -> float:
        """1 towards the camera, 0 to the side, -1 away."""
        return math.cos(self.yaw)

    @property
    def face_seen(self) -> bool:
        """Whether some of the face is towards the camera."""
        return self.facing > -0.35

    @property
    def back_seen(self) -> bool:
        """Whether most of the back is towards the camera."""
        return self.facing <= -0.5

    def at(self, forward: float, left: float, up: float) -> Point:
        """A point of the trunk or head in the image."""
        lean = self.lean * max(0.0, up - HIP) / (NECK - HIP)
        x, y = _project((forward + lean, left, up + self.lift), self.yaw)
        return x, y

    def width(self, lateral: float, sagittal: float) -> float:
        """The projected width of an elliptic cross-section of the trunk."""
        return math.hypot(lateral * math.cos(self.yaw), sagittal * math.sin(self.yaw))


def random_pose(
    rng: np.random.Generator,
    *,
    build: float,
    yaw: float | None = None,
    phase: float | None = None,
) -> Pose:
    """A random pose, three in four walking; `yaw` and `phase` are drawn unless they are given.

    A pose of the same `rng` and the next `phase`, 0 to 2 pi, is a moment later in the same walk.
    """
    if yaw is None:
        side = pick(rng, (0.0, math.pi / 2, math.pi / 2, math.pi, -math.pi / 2, -math.pi / 2))
        yaw = side + float(rng.normal(0, 0.3))
    walking = chance(rng, 0.75)
    stride = float(rng.uniform(0.28, 0.52) if walking else rng.uniform(0.02, 0.1))
    drawn_phase = float(rng.uniform(0, 2 * math.pi))
    phase = drawn_phase if phase is None else phase
    legs = [_leg(side, phase + (side < 0) * math.pi, stride, build) for side in (1.0, -1.0)]
    ground = min(min(heel[2], toe[2]) for _, _, _, heel, toe in legs)
    lift = 0.012 - ground
    arms = [_arm(rng, side, phase + (side < 0) * math.pi, stride, build) for side in (1.0, -1.0)]
    projected_legs = [
        Leg(*_project_joints(joints, lift, yaw), *_project_foot(joints, lift, yaw))
        for joints in legs
    ]
    projected_arms = [Limb(*_project_joints(joints, lift, yaw)) for joints in arms]
    return Pose(
        yaw=yaw,
        lift=lift,
        lean=stride * 0.06,
        legs=_farthest_first(projected_legs),
        arms=_farthest_first(projected_arms),
    )


def _leg(side: float, phase: float, stride: float, build: float) -> tuple[Vector, ...]:
    """Hip, knee, ankle, heel and toe of one leg; the swinging leg bends its knee."""
    thigh = stride * math.sin(phase) + 0.2 * stride
    shin = thigh - stride * (0.25 + 1.6 * max(0.0, math.cos(phase)) ** 2)
    pitch = 0.7 * shin
    y = side * _HIP_WIDTH * build
    hip = (0.0, y, HIP)
    knee = (_THIGH * math.sin(thigh), y, HIP - _THIGH * math.cos(thigh))
    ankle = (knee[0] + _SHIN * math.sin(shin), y * 0.8, knee[2] - _SHIN * math.cos(shin))
    along, down = (math.cos(pitch), math.sin(pitch)), (math.sin(pitch), -math.cos(pitch))
    sole = (ankle[0] + _ANKLE * 0.55 * down[0], ankle[2] + _ANKLE * 0.55 * down[1])
    heel = (sole[0] - _HEEL * along[0], y * 0.8, sole[1] - _HEEL * along[1])
    toe = (sole[0] + _FOOT * along[0], y * 1.1, sole[1] + _FOOT * along[1])
    return hip, knee, ankle, heel, toe


def _arm(
    rng: np.random.Generator, side: float, phase: float, stride: float, build: float
) -> tuple[Vector, ...]:
    """Shoulder, elbow and hand of one arm, which swings against the leg of its side."""
    gesture = pick(rng, ("swing",) * 7 + ("phone", "pocket"))
    upper = -1.1 * stride * math.sin(phase)
    bend = 0.15 + 0.5 * max(0.0, upper) + 0.5 * stride
    if gesture == "phone":
        upper, bend = 0.35, 2.3
    elif gesture == "pocket":
        upper, bend = -0.4, 0.75
    spread = float(rng.uniform(0.06, 0.2))
    y = side * _SHOULDER_WIDTH * build
    shoulder = (0.0, y, SHOULDER)
    elbow = (
        _UPPER_ARM * math.sin(upper),
        y + side * _UPPER_ARM * math.sin(spread),
        SHOULDER - _UPPER_ARM * math.cos(upper),
    )
    hand = (
        elbow[0] + _FOREARM * math.sin(upper + bend),
        elbow[1] - side * _FOREARM * 0.3 * math.sin(bend),
        elbow[2] - _FOREARM * math.cos(upper + bend),
    )
    return shoulder, elbow, hand


def _project(point: Vector, yaw: float) -> Point:
    forward, left, up = point
    x = forward * math.sin(yaw) + left * math.cos(yaw)
    return x, up - _TILT * _nearness(point, yaw)


def _nearness(point: Vector, yaw: float) -> float:
    return point[0] * math.cos(yaw) - point[1] * math.sin(yaw)


def _project_joints(
    joints: tuple[Vector, ...], lift: float, yaw: float
) -> tuple[Point, Point, Point, float]:
    upper, middle, lower = (_project(_raised(joint, lift), yaw) for joint in joints[:3])
    return upper, middle, lower, _nearness(joints[1], yaw)


def _project_foot(joints: tuple[Vector, ...], lift: float, yaw: float) -> tuple[Point, Point]:
    return _project(_raised(joints[3], lift), yaw), _project(_raised(joints[4], lift), yaw)


def _raised(point: Vector, lift: float) -> Vector:
    return point[0], point[1], point[2] + lift


def _farthest_first(limbs: list[AnyLimb]) -> tuple[AnyLimb, AnyLimb]:
    first, second = sorted(limbs, key=lambda limb: limb.nearness)
    return first, second
