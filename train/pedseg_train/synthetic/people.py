"""A person, drawn from appearance and pose: head, body, limbs, clothes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .appearance import (
    HEAD,
    HIP,
    NECK,
    SHOULDER,
    Appearance,
    Leg,
    Limb,
    Pose,
)
from .paint import (
    Color,
    Cutout,
    Fabric,
    Light,
    Point,
    Sheet,
    arc,
    mix,
    shade,
)


@dataclass(frozen=True, slots=True)
class Head:
    """Draws the head of one person onto a sheet."""

    sheet: Sheet
    appearance: Appearance
    pose: Pose

    @property
    def _skull(self) -> tuple[float, float, float, float]:
        """The head's middle in the image and its radii: x, y, rx, ry."""
        x, y = self.pose.at(0.012, 0, HEAD)
        return x, y, 0.054 * self.appearance.head, 0.070 * self.appearance.head

    def draw_behind_shoulders(self) -> None:
        """Draw long hair behind the trunk; to be called before drawing the trunk."""
        if self.appearance.hairstyle == "long" and self.pose.face_seen:
            self._draw_long_hair()

    def draw(self) -> None:
        """Draw neck, head, face, hair and hat; to be called after drawing the trunk."""
        self._draw_head()
        if self.pose.face_seen:
            self._draw_face()
        self._draw_tied_hair()
        if self.appearance.hairstyle == "long" and not self.pose.face_seen:
            self._draw_long_hair()
        self._draw_hat()

    def _draw_head(self) -> None:
        appearance, size = self.appearance, self.appearance.head
        neck = self.pose.at(0.0, 0, NECK - 0.03)
        self.sheet.limb(neck, self.pose.at(0.008, 0, HEAD - 0.03), 0.032, 0.030, appearance.skin)
        x, y, rx, ry = self._skull
        turned = math.sin(self.pose.yaw)
        self.sheet.ball((x, y), rx, ry, appearance.skin)
        if appearance.hairstyle != "bald":
            grown = 1.28 if appearance.hairstyle == "afro" else 1.07
            low = -0.1 if self.pose.face_seen else -0.8  # from behind, hair reaches the nape
            center = (x - 0.010 * turned, y + 0.008 * size)
            cap = arc(
                center, rx * grown, ry * grown, low - 0.5 * turned, math.pi - low - 0.5 * turned
            )
            self.sheet.solid(cap, appearance.hair, (0, 0))
            if self.pose.face_seen:
                face = (x + 0.020 * turned * size, y - 0.018 * size)
                self.sheet.ball(face, rx * (0.84 - 0.05 * abs(turned)), ry * 0.78, appearance.skin)

    def _draw_face(self) -> None:
        """Draw the visible eyes, mouth and nose."""
        appearance, pose, size = self.appearance, self.pose, self.appearance.head
        dark = mix(appearance.skin, (20, 14, 12), 0.75)

        def on_face(forward: float, left: float, up: float) -> Point:
            return pose.at(0.012 + forward * size, left * size, HEAD + up * size)

        if appearance.beard:
            x, y = on_face(0.03, 0, -0.045)
            self.sheet.ellipse((x, y), 0.030 * size, 0.021 * size, appearance.hair)
        for left in (0.020, -0.020):
            near = 0.045 * math.cos(pose.yaw) - left * math.sin(pose.yaw)
            if near < 0.002:
                continue
            eye = on_face(0.045, left, 0.004)
            self.sheet.ellipse(eye, 0.007 * size, 0.006 * size, dark)
            if appearance.glasses:
                self.sheet.ellipse(eye, 0.014 * size, 0.010 * size, (24, 24, 28))
        mouth = [on_face(0.046, 0.014, -0.042), on_face(0.046, -0.014, -0.042)]
        self.sheet.line(mouth, 0.006 * size, mix(appearance.skin, (150, 40, 40), 0.5))
        nose = [
            on_face(0.050, 0, 0.0),
            on_face(0.066, 0, -0.018),
            on_face(0.050, 0, -0.022),
        ]
        self.sheet.polygon(nose, shade(appearance.skin, 0.9))

    def _draw_tied_hair(self) -> None:
        style, hair = self.appearance.hairstyle, self.appearance.hair
        if style == "bun":
            x, y = self.pose.at(-0.055, 0, HEAD + 0.035)
            self.sheet.ball((x, y), 0.028, 0.028, shade(hair, 0.95))
        elif style == "ponytail" and self.pose.facing < 0.5:
            start = self.pose.at(-0.055, 0, HEAD + 0.02)
            self.sheet.limb(start, self.pose.at(-0.085, 0, HEAD - 0.11), 0.020, 0.012, hair)

    def _draw_long_hair(self) -> None:
        start, end = self.pose.at(-0.02, 0, HEAD + 0.01), self.pose.at(-0.035, 0, SHOULDER - 0.04)
        size = self.appearance.head
        self.sheet.limb(start, end, 0.060 * size, 0.050 * size, shade(self.appearance.hair, 0.9))

    def _draw_hat(self) -> None:
        hat, color = self.appearance.hat, self.appearance.hat_color
        if hat == "none":
            return
        x, y, rx, ry = self._skull
        turned = math.sin(self.pose.yaw)
        if hat == "hood":
            hood: Fabric = self.appearance.top.dimmed(0.92)
            self.sheet.ball((x - 0.02 * turned, y + 0.01), rx * 1.25, ry * 1.18, hood)
            if self.pose.face_seen:
                face = (x + 0.022 * turned, y - 0.008)
                self.sheet.ball(face, rx * 0.78, ry * 0.80, self.appearance.skin)
                self._draw_face()
            return
        self.sheet.solid(arc((x, y + 0.018), rx * 1.12, ry * 0.98, 0, math.pi), color, (0, 0))
        band: Color = shade(color, 0.75)
        if hat == "brim":
            self.sheet.ellipse((x, y + 0.022), rx * 1.75, ry * 0.22, band)
        elif hat == "cap":
            peak = (x + 0.055 * turned, y + 0.024)
            if not self.pose.back_seen:
                self.sheet.ellipse(peak, rx * (0.75 + 0.25 * abs(turned)), ry * 0.18, band)
        else:
            self.sheet.ellipse((x, y + 0.03), rx * 1.14, ry * 0.24, band)


# The trunk's cross-sections from neck to hip: height, half width, half depth.
_TRUNK = (
    (0.838, 0.040, 0.040),
    (0.828, 0.078, 0.050),
    (0.806, 0.106, 0.060),
    (0.730, 0.104, 0.072),
    (0.620, 0.088, 0.066),
    (0.540, 0.096, 0.072),
    (0.475, 0.098, 0.076),
)


def draw_person(appearance: Appearance, pose: Pose, *, scale: float, light: Light) -> Cutout:
    """Draw a person who stands at the sheet's origin.

    Args:
        appearance: body and clothes.
        pose: joints, in fractions of the height.
        scale: pixels of the image per metre.
        light: on the body.
    """
    height = appearance.height
    sheet = Sheet(
        scale * height,  # the sheet's unit is the person's height
        left=0.62,
        right=0.62,
        top=1.12,
        bottom=0.1,
        light=light,
    )
    _Figure(sheet, appearance, pose).draw()
    return sheet.cutout()


@dataclass(frozen=True, slots=True)
class _Figure:
    """Draws one person from back to front."""

    sheet: Sheet
    appearance: Appearance
    pose: Pose

    def draw(self) -> None:
        far_arm, near_arm = self.pose.arms
        behind = far_arm.nearness < -0.03
        head = Head(self.sheet, self.appearance, self.pose)
        head.draw_behind_shoulders()
        if not self.pose.back_seen:
            self._draw_backpack()
        if behind:
            self._draw_arm(far_arm, 0.82)
        for leg, dim in zip(self.pose.legs, (0.84, 1.0), strict=True):
            self._draw_leg(leg, dim)
        self._draw_hips()
        self._draw_trunk()
        self._draw_chest()
        if self.pose.back_seen:
            self._draw_backpack()
        if not behind:
            self._draw_arm(far_arm, 0.96)
        head.draw()
        self._draw_arm(near_arm, 1.0)
        self._draw_bag(near_arm)

    @property
    def _stride(self) -> float:
        """The larger distance of a knee from the middle, in the image."""
        middle = self.pose.at(0, 0, HIP)[0]
        return max(abs(leg.middle[0] - middle) for leg in self.pose.legs)

    def _draw_leg(self, leg: Leg, dim: float) -> None:
        appearance, build = self.appearance, self.appearance.build
        bare = shade(appearance.tights, dim)
        self.sheet.limb(leg.heel, leg.toe, 0.020, 0.016, shade(appearance.shoes, dim))
        self.sheet.limb(leg.upper, leg.middle, 0.050 * build, 0.036 * build, bare)
        self.sheet.limb(leg.middle, leg.lower, 0.035 * build, 0.021, bare)
        self.sheet.ball(leg.lower, 0.022, 0.020, shade(appearance.shoes, dim))
        if appearance.skirt is not None:
            return
        cloth = appearance.bottom.dimmed(dim)
        if appearance.legs > 0.5:
            self.sheet.limb(leg.middle, leg.lower, 0.040 * build, 0.029 * build, cloth)
        self.sheet.limb(leg.upper, leg.middle, 0.060 * build, 0.041 * build, cloth)

    def _draw_arm(self, arm: Limb, dim: float) -> None:
        appearance, build = self.appearance, self.appearance.build
        cloth, skin = appearance.top.dimmed(dim), shade(appearance.skin, dim)
        self.sheet.limb(arm.middle, arm.lower, 0.022 * build, 0.017, skin)
        self.sheet.ball(arm.lower, 0.021, 0.024, skin)
        if appearance.sleeves > 0.5:
            wrist = _interpolate(arm.middle, arm.lower, 0.9)
            self.sheet.limb(arm.middle, wrist, 0.029 * build, 0.023 * build, cloth)
        else:
            self.sheet.limb(arm.upper, arm.middle, 0.030 * build, 0.023 * build, skin)
        end = _interpolate(arm.upper, arm.middle, min(1.0, 2 * appearance.sleeves))
        self.sheet.limb(arm.upper, end, 0.037 * build, 0.030 * build, cloth)

    def _outline(self, rows: list[tuple[float, float, float]]) -> list[Point]:
        """The outline of a trunk whose cross-sections are (up, half width, half depth)."""
        left, right = [], []
        for up, lateral, sagittal in rows:
            x, y = self.pose.at(0.0, 0.0, up)
            half = self.pose.width(lateral, sagittal) * self.appearance.build
            left.append((x - half, y))
            right.append((x + half, y))
        return left + right[::-1]

    def _draw_trunk(self) -> None:
        rows = list(_TRUNK)
        end = self.appearance.coat
        if end < rows[-1][0]:
            flare = 0.098 + 0.06 * (0.475 - end) / 0.2
            swing = self._stride * (0.475 - end) / 0.24
            rows.append((end, max(flare, swing + 0.03), max(flare, swing + 0.045)))
        self.sheet.solid(self._outline(rows), self.appearance.top)

    def _draw_hips(self) -> None:
        """Draw the skirt, or the trousers between trunk and thighs."""
        hem = self.appearance.skirt
        if hem is None:
            rows = [(0.56, 0.090, 0.070), (0.50, 0.098, 0.076), (0.465, 0.080, 0.066)]
            self.sheet.solid(self._outline(rows), self.appearance.bottom)
            return
        half = max(0.105, 0.8 * self._stride * (HIP - hem) / (HIP - 0.28) + 0.045)
        rows = [(0.60, 0.085, 0.062), (0.50, 0.105, 0.082), (hem, half, half)]
        self.sheet.solid(self._outline(rows), self.appearance.bottom)

    def _draw_chest(self) -> None:
        """Draw an open jacket's inside and the straps of bags."""
        appearance, pose = self.appearance, self.pose
        if appearance.open_front is not None and self.pose.facing > 0.25:
            width = 0.028
            low = max(appearance.coat, 0.40) + 0.01
            points = [
                pose.at(0.06, -width * 0.6, 0.825),
                pose.at(0.06, width * 0.6, 0.825),
                pose.at(0.07, width * 1.3, low),
                pose.at(0.07, -width * 1.3, low),
            ]
            self.sheet.polygon(points, appearance.open_front)
        if appearance.bag == "shoulder":
            strap = [pose.at(0.05, 0.07, 0.83), pose.at(0.075, -0.10, 0.50)]
            self.sheet.line(strap, 0.012, shade(appearance.bag_color, 0.8))
        if appearance.bag == "backpack" and self.pose.facing > -0.2:
            for side in (0.062, -0.062):
                strap = [pose.at(0.05, side, 0.825), pose.at(0.075, side * 1.1, 0.64)]
                self.sheet.line(strap, 0.016, shade(appearance.bag_color, 0.8))

    def _draw_backpack(self) -> None:
        if self.appearance.bag != "backpack":
            return
        rows = ((0.80, 0.050), (0.785, 0.072), (0.60, 0.080), (0.575, 0.070))
        left, right = [], []
        for up, lateral in rows:
            x, y = self.pose.at(-0.105, 0.0, up)
            half = self.pose.width(lateral, 0.052)
            left.append((x - half, y))
            right.append((x + half, y))
        self.sheet.solid(left + right[::-1], self.appearance.bag_color)
        if self.pose.back_seen:
            x, y = self.pose.at(-0.15, 0.0, 0.645)
            self.sheet.ball((x, y), 0.045, 0.036, shade(self.appearance.bag_color, 0.86))

    def _draw_bag(self, arm: Limb) -> None:
        appearance, (x, y) = self.appearance, arm.lower
        color = appearance.bag_color
        if appearance.bag == "handbag":
            self.sheet.line([(x - 0.03, y - 0.08), (x, y), (x + 0.03, y - 0.08)], 0.008, color)
            outline = [(-0.042, -0.075), (0.042, -0.075), (0.055, -0.15), (-0.055, -0.15)]
        elif appearance.bag == "shopping":
            self.sheet.line([(x - 0.02, y - 0.05), (x, y), (x + 0.02, y - 0.05)], 0.006, color)
            outline = [(-0.052, -0.045), (0.052, -0.045), (0.052, -0.185), (-0.052, -0.185)]
        elif appearance.bag == "shoulder":
            x, y = self.pose.at(0.06, -0.11, 0.5)
            outline = [(-0.05, 0.03), (0.05, 0.03), (0.055, -0.055), (-0.055, -0.055)]
        else:
            return
        self.sheet.solid([(x + dx, y + dy) for dx, dy in outline], color)


def _interpolate(start: Point, end: Point, share: float) -> Point:
    """The point that lies `share` of the way from `start` to `end`."""
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
