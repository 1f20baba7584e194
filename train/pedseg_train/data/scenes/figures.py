"""A person, drawn from look and pose."""

from __future__ import annotations

from dataclasses import dataclass

from .heads import Head
from .paint import Cutout, Light, Point, Sheet, shade
from .pose import HIP, Leg, Limb, Pose
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
        far_arm, near_arm = self.pose.arms
        behind = far_arm.nearness < -0.03
        head = Head(self.sheet, self.look, self.pose)
        head.draw_behind_shoulders()
        if not self.pose.back_seen:
            self._backpack()
        if behind:
            self._arm(far_arm, 0.82)
        for leg, dim in zip(self.pose.legs, (0.84, 1.0), strict=True):
            self._leg(leg, dim)
        self._seat()
        self._trunk()
        self._front()
        if self.pose.back_seen:
            self._backpack()
        if not behind:
            self._arm(far_arm, 0.96)
        head.draw()
        self._arm(near_arm, 1.0)
        self._carried(near_arm)

    @property
    def _stride(self) -> float:
        """How far the knees are from the middle in the picture."""
        middle = self.pose.at(0, 0, HIP)[0]
        return max(abs(leg.middle[0] - middle) for leg in self.pose.legs)

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
            flare = 0.098 + 0.06 * (0.475 - end) / 0.2
            swing = self._stride * (0.475 - end) / 0.24
            rows.append((end, max(flare, swing + 0.03), max(flare, swing + 0.045)))
        self.sheet.solid(self._outline(rows), self.look.top)

    def _seat(self) -> None:
        """The skirt, or what trousers cover between trunk and thighs."""
        hem = self.look.skirt
        if hem is None:
            rows = [(0.56, 0.090, 0.070), (0.50, 0.098, 0.076), (0.465, 0.080, 0.066)]
            self.sheet.solid(self._outline(rows), self.look.bottom)
            return
        half = max(0.105, 0.8 * self._stride * (HIP - hem) / (HIP - 0.28) + 0.045)
        rows = [(0.60, 0.085, 0.062), (0.50, 0.105, 0.082), (hem, half, half)]
        self.sheet.solid(self._outline(rows), self.look.bottom)

    def _front(self) -> None:
        """What is on the chest: an open jacket's inside, a bag's strap."""
        look, pose = self.look, self.pose
        if look.open_front is not None and self.pose.facing > 0.25:
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
        if look.bag == "backpack" and self.pose.facing > -0.2:
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
        if self.pose.back_seen:
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


def _between(start: Point, end: Point, share: float) -> Point:
    """The point that lies `share` of the way from `start` to `end`."""
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
