"""A person's head: neck, face, hair and hat."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .paint import Color, Fabric, Point, Sheet, arc, mix, shade
from .pose import HEAD, NECK, SHOULDER, Pose
from .wardrobe import Appearance


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
