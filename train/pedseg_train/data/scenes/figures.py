"""A person, drawn from look and pose."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .paint import Color, Cutout, Fabric, Light, Point, Sheet, arc, mix, shade
from .pose import HEAD, HIP, NECK, SHOULDER, Leg, Limb, Pose
from .wardrobe import Look

# The trunk's outline from neck to seat: height, half width from the front, half depth.
_TRUNK = (
    (0.838, 0.040, 0.040),
    (0.828, 0.078, 0.050),
    (0.806, 0.106, 0.060),
    (0.730, 0.104, 0.072),
    (0.620, 0.088, 0.066),
    (0.540, 0.096, 0.072),
    (0.475, 0.098, 0.076),
)


def draw_person(look: Look, pose: Pose, *, scale: float, light: Light) -> Cutout:
    """A person who stands at the sheet's origin.

    Args:
        look: the appearance.
        pose: the posture, in shares of the height.
        scale: pixels of the picture per metre.
        light: shades the body.
    """
    height = look.height
    sheet = Sheet(
        scale * height,  # from here on a unit is the person's height
        left=0.62,
        right=0.62,
        top=1.12,
        bottom=0.1,
        light=light,
    )
    _Figure(sheet, look, pose).draw()
    return sheet.cutout()


@dataclass(frozen=True, slots=True)
class _Figure:
    """Draws the parts of one person from back to front."""

    sheet: Sheet
    look: Look
    pose: Pose

    def draw(self) -> None:
        facing = math.cos(self.pose.yaw)  # 1 towards the camera, -1 away
        far_arm, near_arm = self.pose.arms
        behind = far_arm.nearness < -0.03
        self._back_hair(facing > -0.35)
        if facing > -0.5:
            self._backpack()
        if behind:
            self._arm(far_arm, 0.82)
        for leg, dim in zip(self.pose.legs, (0.84, 1.0), strict=True):
            self._leg(leg, dim)
        self._seat()
        self._trunk()
        self._front(facing)
        if facing <= -0.5:
            self._backpack()
        if not behind:
            self._arm(far_arm, 0.96)
        self._head(facing)
        self._arm(near_arm, 1.0)
        self._carried(near_arm)

    def _leg(self, leg: Leg, dim: float) -> None:
        look, build = self.look, self.look.build
        bare = shade(look.tights, dim)
        self.sheet.limb(leg.heel, leg.toe, 0.020, 0.016, shade(look.shoes, dim))
        self.sheet.limb(leg.upper, leg.middle, 0.050 * build, 0.036 * build, bare)
        self.sheet.limb(leg.middle, leg.lower, 0.035 * build, 0.021, bare)
        self.sheet.ball(leg.lower, 0.022, 0.020, shade(look.shoes, dim))
        if look.skirt is not None:
            return
        cloth = look.bottom.dimmed(dim)
        if look.legs > 0.5:
            self.sheet.limb(leg.middle, leg.lower, 0.040 * build, 0.029 * build, cloth)
        self.sheet.limb(leg.upper, leg.middle, 0.060 * build, 0.041 * build, cloth)

    def _arm(self, arm: Limb, dim: float) -> None:
        look, build = self.look, self.look.build
        cloth, skin = look.top.dimmed(dim), shade(look.skin, dim)
        self.sheet.limb(arm.middle, arm.lower, 0.022 * build, 0.017, skin)
        self.sheet.ball(arm.lower, 0.021, 0.024, skin)
        if look.sleeves > 0.5:
            wrist = _between(arm.middle, arm.lower, 0.9)
            self.sheet.limb(arm.middle, wrist, 0.029 * build, 0.023 * build, cloth)
        else:
            self.sheet.limb(arm.upper, arm.middle, 0.030 * build, 0.023 * build, skin)
        end = _between(arm.upper, arm.middle, min(1.0, 2 * look.sleeves))
        self.sheet.limb(arm.upper, end, 0.037 * build, 0.030 * build, cloth)

    def _outline(self, rows: list[tuple[float, float, float]]) -> list[Point]:
        """The outline of a trunk whose cross-sections are (up, half width, half depth)."""
        left, right = [], []
        for up, lateral, sagittal in rows:
            x, y = self.pose.at(0.0, 0.0, up)
            half = self.pose.width(lateral, sagittal) * self.look.build
            left.append((x - half, y))
            right.append((x + half, y))
        return left + right[::-1]

    def _trunk(self) -> None:
        rows = list(_TRUNK)
        end = self.look.coat
        if end < rows[-1][0]:
            knees = max(abs(leg.middle[0] - self.pose.at(0, 0, HIP)[0]) for leg in self.pose.legs)
            flare = 0.098 + 0.06 * (0.475 - end) / 0.2
            share = (0.475 - end) / 0.24
            rows.append((end, max(flare, knees * share + 0.03), max(flare, knees * share + 0.045)))
        self.sheet.solid(self._outline(rows), self.look.top)

    def _seat(self) -> None:
        """The skirt, or what trousers cover between trunk and thighs."""
        hem = self.look.skirt
        if hem is None:
            rows = [(0.56, 0.090, 0.070), (0.50, 0.098, 0.076), (0.465, 0.080, 0.066)]
            self.sheet.solid(self._outline(rows), self.look.bottom)
            return
        middle = self.pose.at(0, 0, HIP)[0]
        knees = max(abs(leg.middle[0] - middle) for leg in self.pose.legs)
        share = (HIP - hem) / (HIP - 0.28)
        half = max(0.105, 0.8 * knees * share + 0.045)
        rows = [(0.60, 0.085, 0.062), (0.50, 0.105, 0.082), (hem, half, half)]
        self.sheet.solid(self._outline(rows), self.look.bottom)

    def _front(self, facing: float) -> None:
        """What is on the chest: an open jacket's inside, a bag's strap."""
        look, pose = self.look, self.pose
        if look.open_front is not None and facing > 0.25:
            width = 0.028
            low = max(look.coat, 0.40) + 0.01
            points = [
                pose.at(0.06, -width * 0.6, 0.825),
                pose.at(0.06, width * 0.6, 0.825),
                pose.at(0.07, width * 1.3, low),
                pose.at(0.07, -width * 1.3, low),
            ]
            self.sheet.polygon(points, look.open_front)
        if look.bag == "shoulder":
            strap = [pose.at(0.05, 0.07, 0.83), pose.at(0.075, -0.10, 0.50)]
            self.sheet.line(strap, 0.012, shade(look.bag_color, 0.8))
        if look.bag == "backpack" and facing > -0.2:
            for side in (0.062, -0.062):
                strap = [pose.at(0.05, side, 0.825), pose.at(0.075, side * 1.1, 0.64)]
                self.sheet.line(strap, 0.016, shade(look.bag_color, 0.8))

    def _backpack(self) -> None:
        if self.look.bag != "backpack":
            return
        rows = ((0.80, 0.050), (0.785, 0.072), (0.60, 0.080), (0.575, 0.070))
        left, right = [], []
        for up, lateral in rows:
            x, y = self.pose.at(-0.105, 0.0, up)
            half = self.pose.width(lateral, 0.052)
            left.append((x - half, y))
            right.append((x + half, y))
        self.sheet.solid(left + right[::-1], self.look.bag_color)
        if math.cos(self.pose.yaw) < -0.5:
            x, y = self.pose.at(-0.15, 0.0, 0.645)
            self.sheet.ball((x, y), 0.045, 0.036, shade(self.look.bag_color, 0.86))

    def _carried(self, arm: Limb) -> None:
        look, (x, y) = self.look, arm.lower
        color = look.bag_color
        if look.bag == "handbag":
            self.sheet.line([(x - 0.03, y - 0.08), (x, y), (x + 0.03, y - 0.08)], 0.008, color)
            outline = [(-0.042, -0.075), (0.042, -0.075), (0.055, -0.15), (-0.055, -0.15)]
        elif look.bag == "shopping":
            self.sheet.line([(x - 0.02, y - 0.05), (x, y), (x + 0.02, y - 0.05)], 0.006, color)
            outline = [(-0.052, -0.045), (0.052, -0.045), (0.052, -0.185), (-0.052, -0.185)]
        elif look.bag == "shoulder":
            x, y = self.pose.at(0.06, -0.11, 0.5)
            outline = [(-0.05, 0.03), (0.05, 0.03), (0.055, -0.055), (-0.055, -0.055)]
        else:
            return
        self.sheet.solid([(x + dx, y + dy) for dx, dy in outline], color)

    def _head(self, facing: float) -> None:
        look, size = self.look, self.look.head
        neck = self.pose.at(0.0, 0, NECK - 0.03)
        self.sheet.limb(neck, self.pose.at(0.008, 0, HEAD - 0.03), 0.032, 0.030, look.skin)
        x, y = self.pose.at(0.012, 0, HEAD)
        rx, ry = 0.054 * size, 0.070 * size
        turned = math.sin(self.pose.yaw)
        self.sheet.ball((x, y), rx, ry, look.skin)
        if look.hairstyle != "bald":
            grown = 1.28 if look.hairstyle == "afro" else 1.07
            low = -0.8 if facing < -0.35 else -0.1  # from behind, hair reaches the nape
            center = (x - 0.010 * turned, y + 0.008 * size)
            cap = arc(
                center, rx * grown, ry * grown, low - 0.5 * turned, math.pi - low - 0.5 * turned
            )
            self.sheet.solid(cap, look.hair, (0, 0))
            if facing >= -0.35:
                face = (x + 0.020 * turned * size, y - 0.018 * size)
                self.sheet.ball(face, rx * (0.84 - 0.05 * abs(turned)), ry * 0.78, look.skin)
        if facing > -0.35:
            self._face(size)
        self._tail(facing)
        self._hat((x, y), rx, ry, turned)

    def _face(self, size: float) -> None:
        """Eyes, mouth and nose where the camera sees them."""
        look, pose = self.look, self.pose
        dark = mix(look.skin, (20, 14, 12), 0.75)

        def on_face(forward: float, left: float, up: float) -> Point:
            return pose.at(0.012 + forward * size, left * size, HEAD + up * size)

        if look.beard:
            x, y = on_face(0.03, 0, -0.045)
            self.sheet.ellipse((x, y), 0.030 * size, 0.021 * size, look.hair)
        for left in (0.020, -0.020):
            near = 0.045 * math.cos(pose.yaw) - left * math.sin(pose.yaw)
            if near < 0.002:
                continue
            eye = on_face(0.045, left, 0.004)
            self.sheet.ellipse(eye, 0.007 * size, 0.006 * size, dark)
            if look.glasses:
                self.sheet.ellipse(eye, 0.014 * size, 0.010 * size, (24, 24, 28))
        mouth = [on_face(0.046, 0.014, -0.042), on_face(0.046, -0.014, -0.042)]
        self.sheet.line(mouth, 0.006 * size, mix(look.skin, (150, 40, 40), 0.5))
        nose = [on_face(0.050, 0, 0.0), on_face(0.066, 0, -0.018), on_face(0.050, 0, -0.022)]
        self.sheet.polygon(nose, shade(look.skin, 0.9))

    def _back_hair(self, behind: bool) -> None:
        """Long hair hangs behind the shoulders, unless the back is towards the camera."""
        if self.look.hairstyle == "long" and behind:
            self._hanging_hair()

    def _tail(self, facing: float) -> None:
        style, hair = self.look.hairstyle, self.look.hair
        if style == "long" and facing <= -0.35:
            self._hanging_hair()
        elif style == "bun":
            x, y = self.pose.at(-0.055, 0, HEAD + 0.035)
            self.sheet.ball((x, y), 0.028, 0.028, shade(hair, 0.95))
        elif style == "ponytail" and facing < 0.5:
            start = self.pose.at(-0.055, 0, HEAD + 0.02)
            self.sheet.limb(start, self.pose.at(-0.085, 0, HEAD - 0.11), 0.020, 0.012, hair)

    def _hanging_hair(self) -> None:
        start, end = self.pose.at(-0.02, 0, HEAD + 0.01), self.pose.at(-0.035, 0, SHOULDER - 0.04)
        size = self.look.head
        self.sheet.limb(start, end, 0.060 * size, 0.050 * size, shade(self.look.hair, 0.9))

    def _hat(self, center: Point, rx: float, ry: float, turned: float) -> None:
        (x, y), hat, color = center, self.look.hat, self.look.hat_color
        if hat == "none":
            return
        if hat == "hood":
            hood: Fabric = self.look.top.dimmed(0.92)
            self.sheet.ball((x - 0.02 * turned, y + 0.01), rx * 1.25, ry * 1.18, hood)
            if math.cos(self.pose.yaw) > -0.35:
                face = (x + 0.022 * turned, y - 0.008)
                self.sheet.ball(face, rx * 0.78, ry * 0.80, self.look.skin)
                self._face(self.look.head)
            return
        self.sheet.solid(arc((x, y + 0.018), rx * 1.12, ry * 0.98, 0, math.pi), color, (0, 0))
        band: Color = shade(color, 0.75)
        if hat == "brim":
            self.sheet.ellipse((x, y + 0.022), rx * 1.75, ry * 0.22, band)
        elif hat == "cap":
            peak = (x + 0.055 * turned, y + 0.024)
            if math.cos(self.pose.yaw) > -0.5:
                self.sheet.ellipse(peak, rx * (0.75 + 0.25 * abs(turned)), ry * 0.18, band)
        else:
            self.sheet.ellipse((x, y + 0.03), rx * 1.14, ry * 0.24, band)


def _between(start: Point, end: Point, share: float) -> Point:
    """The point that lies `share` of the way from `start` to `end`."""
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
