"""Draw detections and ground truth on images: translucent masks, outlines, boxes and captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .images import read_image
from .masks import PastedMask, crop_dense

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # x1 y1 x2 y2: its first and its last pixel

FILL_OPACITY = 0.45
# Bright on dark streets and on light ones; each differs from its neighbours in hue.
_PALETTE: tuple[Color, ...] = (
    (255, 140, 46),
    (38, 194, 255),
    (150, 230, 54),
    (255, 82, 168),
    (255, 216, 54),
    (142, 132, 255),
    (38, 224, 170),
    (255, 98, 84),
    (108, 178, 255),
    (214, 190, 110),
    (222, 122, 255),
    (120, 220, 220),
)
# Smallest and largest text in pixels; in between it grows with the image.
_FONT_SIZES = (10, 40)


class DrawableDetections(Protocol):
    """What is drawn of detections; see `Detections`."""

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Float32 [D, 4], x1 y1 x2 y2 in pixels."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Float32 [D]."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""

    def label_names(self) -> list[str]:
        """The class name of every detection."""

    def crops(self) -> list[PastedMask]:
        """The masks as crops of the image."""


def instance_color(index: int) -> Color:
    """The color (r, g, b) of the instance `index`, 0..255; the same index has the same color.

    Neighbours in the list look far apart; after the palette's end it repeats a little darker.
    """
    cycle, position = divmod(index, len(_PALETTE))
    shade = 0.8 ** (cycle % 3)
    red, green, blue = (round(channel * shade) for channel in _PALETTE[position])
    return red, green, blue


def draw_detections(
    image: Image.Image | NDArray[np.uint8], detections: DrawableDetections
) -> Image.Image:
    """A copy of `image` with each detection's mask, box, class name and score.

    Args:
        image: PIL image or uint8 [H, W, 3] RGB, of the size the detections are for.
        detections: what was found on it.

    Raises:
        InputError: the image has another size than the detections.
    """
    pixels = read_image(image, max_pixels=None)
    if pixels.shape[:2] != detections.image_size:
        raise InputError(
            f"image: expected the detections' own size {detections.image_size} (height, width), "
            f"found {pixels.shape[:2]}; draw on the image that was segmented"
        )
    captions = [
        f"{name} {score:.2f}"
        for name, score in zip(detections.label_names(), detections.scores, strict=True)
    ]
    return _draw(pixels, detections.crops(), detections.boxes, captions)


def draw_instances(
    image: Image.Image | NDArray[np.uint8],
    masks: NDArray[np.bool_],
    boxes: NDArray[np.float32] | None = None,
    captions: Sequence[str] | None = None,
    colors: Sequence[Color] | None = None,
) -> Image.Image:
    """A copy of `image` with dense masks on it, e.g. of the ground truth.

    Args:
        image: PIL image or uint8 [H, W, 3] RGB.
        masks: bool [N, H, W].
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels; None draws none.
        captions: one short text per instance, which may be empty; None writes none.
        colors: one per instance; None gives each its own, see `instance_color`.

    Raises:
        InputError: the masks have another size than the image.
    """
    pixels = read_image(image, max_pixels=None)
    masks = np.asarray(masks, np.bool_)
    if masks.ndim != 3 or masks.shape[1:] != pixels.shape[:2]:
        raise InputError(
            f"masks: expected [N, {pixels.shape[0]}, {pixels.shape[1]}], found {list(masks.shape)}"
        )
    return _draw(pixels, [crop_dense(mask) for mask in masks], boxes, captions, colors)


def _draw(
    pixels: NDArray[np.uint8],
    crops: Sequence[PastedMask],
    boxes: NDArray[np.float32] | None,
    captions: Sequence[str] | None,
    colors: Sequence[Color] | None = None,
) -> Image.Image:
    """Paint masks, then boxes, then captions; the first instance comes last and lies on top."""
    from PIL import Image, ImageDraw

    canvas = pixels.copy()
    scale = float(np.hypot(*pixels.shape[:2]))
    stroke = max(1, round(scale / 500))
    order = range(len(crops) - 1, -1, -1)
    colors = [instance_color(index) for index in range(len(crops))] if colors is None else colors
    for index in order:
        _paint(canvas, crops[index], colors[index], stroke)
    drawn = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawn)
    if boxes is not None:
        for index in order:
            pen.rectangle(_corners(boxes[index]), outline=colors[index], width=(stroke + 1) // 2)
    if captions is not None:
        places = [_anchor(crop) for crop in crops] if boxes is None else map(_corners, boxes)
        _write(pen, drawn.size, list(places), captions, colors, _font(scale))
    return drawn


def _paint(canvas: NDArray[np.uint8], crop: PastedMask, color: Color, stroke: int) -> None:
    """Blend one mask into `canvas` in place and draw its outline, in its own crop alone."""
    top, left, bits = crop
    if not bits.any():
        return
    window = canvas[top : top + bits.shape[0], left : left + bits.shape[1]]
    blended = window[bits] * (1 - FILL_OPACITY) + np.array(color) * FILL_OPACITY
    window[bits] = np.rint(blended).astype(np.uint8)
    window[bits & ~_eroded(bits, stroke)] = color


def _eroded(bits: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask without its `steps` outermost pixels; beyond the crop there is no mask."""
    for _ in range(steps):
        padded = np.pad(bits, 1)
        bits = bits & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return bits


def _anchor(crop: PastedMask) -> Rectangle:
    """The pixels (x1, y1, x2, y2) a crop covers."""
    height, width = crop.bits.shape
    return crop.left, crop.top, crop.left + width - 1, crop.top + height - 1


def _corners(box: NDArray[np.float32]) -> Rectangle:
    """The first and last pixel (x1, y1, x2, y2) of a box with edges in pixels."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)


def _font(scale: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at a size that suits an image of diagonal `scale`."""
    from PIL import ImageFont

    smallest, largest = _FONT_SIZES
    return ImageFont.load_default(size=min(max(round(6 + scale / 100), smallest), largest))


def _write(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    places: Sequence[Rectangle],
    captions: Sequence[str],
    colors: Sequence[Color],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write a caption at each place, where it covers no other caption if there is such a spot."""
    taken: list[Rectangle] = []
    for place, caption, color in zip(places, captions, colors, strict=True):
        if not caption:
            continue
        left, top, right, bottom = pen.textbbox((0, 0), caption, font=font)
        pad = max(2, round((bottom - top) / 5))
        extent = (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad)
        spots = [_inside(spot, extent, size) for spot in _spots(place, extent)]
        label = next((spot for spot in spots if not _covers(spot, taken)), spots[0])
        taken.append(label)
        pen.rectangle(label, fill=color)
        ink = (0, 0, 0) if _luminance(color) > 130 else (255, 255, 255)
        pen.text((label[0] + pad - left, label[1] + pad - top), caption, fill=ink, font=font)


def _spots(place: Rectangle, extent: tuple[int, int]) -> Iterable[tuple[int, int]]:
    """Where a caption may stand, best first: above the box, in its top, below it, further down."""
    x1, y1, x2, y2 = place
    width, height = extent
    yield from ((x1, y1 - height), (x2 + 1 - width, y1 - height), (x1, y1), (x1, y2 + 1))
    yield from ((x1, y1 + step * height) for step in range(1, 6))


def _inside(spot: tuple[int, int], extent: tuple[int, int], size: tuple[int, int]) -> Rectangle:
    """The rectangle of `extent` at `spot`, moved so that it lies on an image of `size`."""
    x = max(0, min(spot[0], size[0] - extent[0]))
    y = max(0, min(spot[1], size[1] - extent[1]))
    return x, y, x + extent[0] - 1, y + extent[1] - 1


def _covers(label: Rectangle, taken: Iterable[Rectangle]) -> bool:
    """Whether `label` shares a pixel with one of `taken`."""
    return any(
        label[0] <= other[2]
        and other[0] <= label[2]
        and label[1] <= other[3]
        and other[1] <= label[3]
        for other in taken
    )


def _luminance(color: Color) -> float:
    """How bright a color looks, 0..255 (ITU-R BT.601)."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
