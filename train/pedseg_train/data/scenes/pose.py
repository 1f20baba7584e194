"""The joints of a walking or standing person, projected from any side.

The body's frame is (forward, left, up) in fractions of the height; `_project` maps it to the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .paint import Point, chance, pick

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


def random_pose(rng: np.random.Generator, *, build: float, yaw: float | None = None) -> Pose:
    """A random pose, three in four walking; `yaw` is drawn unless it is given."""
    if yaw is None:
        side = pick(rng, (0.0, math.pi / 2, math.pi / 2, math.pi, -math.pi / 2, -math.pi / 2))
        yaw = side + float(rng.normal(0, 0.3))
    walking = chance(rng, 0.75)
    stride = float(rng.uniform(0.28, 0.52) if walking else rng.uniform(0.02, 0.1))
    phase = float(rng.uniform(0, 2 * math.pi))
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
