"""Soft masks in the frame of their box -> pixels of the image, by torchvision's own rule.

torchvision (`roi_heads.paste_masks_in_image`) pads the soft mask by one cell, grows the box by the
same proportion, truncates the box to integers, resizes the mask bilinearly to the box and copies
it into a frame of zeros. Here the same numbers come from the part of the box that lies on the
image alone, so the cost is the area of the boxes, never detections x height x width floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

PADDING = 1
# torch resizes an output of height + width up to this with a kernel of its own.
SMALL_OUTPUT = 128


class PastedMask(NamedTuple):
    """The part of one pasted mask that lies on the image.

    Attributes:
        top, left: row and column of the crop's first pixel in the image.
        bits: bool [h, w], True on the instance; [0, 0] if the box lies outside the image.
    """

    top: int
    left: int
    bits: NDArray[np.bool_]


def paste_mask(
    roi_mask: NDArray[np.float32],
    box: NDArray[np.float32],
    image_size: tuple[int, int],
    threshold: float = 0.5,
) -> PastedMask:
    """Resize one soft mask to its box and threshold it.

    Args:
        roi_mask: float32 [M, M], in 0..1, in the frame of the box.
        box: float32 [4], x1 y1 x2 y2 in pixels; it may reach beyond the image.
        image_size: (height, width) of the image.
        threshold: pixels of at least this value belong to the mask.
    """
    return _paste(
        _padded(roi_mask[None])[0], _integer_boxes(box[None], roi_mask)[0], image_size, threshold
    )


def paste_masks(
    roi_masks: NDArray[np.float32],
    boxes: NDArray[np.float32],
    image_size: tuple[int, int],
    threshold: float = 0.5,
) -> NDArray[np.bool_]:
    """Dense masks, bool [D, H, W], of soft masks [D, M, M] and boxes [D, 4]; see `paste_mask`."""
    dense = np.zeros((len(boxes), *image_size), dtype=np.bool_)
    for frame, (top, left, bits) in zip(
        dense, crop_masks(roi_masks, boxes, image_size, threshold), strict=True
    ):
        frame[top : top + bits.shape[0], left : left + bits.shape[1]] = bits
    return dense


def crop_masks(
    roi_masks: NDArray[np.float32],
    boxes: NDArray[np.float32],
    image_size: tuple[int, int],
    threshold: float = 0.5,
) -> list[PastedMask]:
    """The box-sized masks of soft masks [D, M, M] and boxes [D, 4]; see `paste_mask`."""
    integer_boxes = _integer_boxes(boxes, roi_masks)
    return [
        _paste(mask, box, image_size, threshold)
        for mask, box in zip(_padded(roi_masks), integer_boxes, strict=True)
    ]


def crop_dense(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> PastedMask:
    """The smallest crop of a dense mask [H, W] that holds all of it."""
    bits = np.asarray(mask, np.bool_)
    rows, columns = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    if len(rows) == 0:
        return PastedMask(0, 0, np.zeros((0, 0), np.bool_))
    top, left = int(rows[0]), int(columns[0])
    return PastedMask(top, left, bits[top : rows[-1] + 1, left : columns[-1] + 1])


def encode_crops(crops: Iterable[PastedMask], image_size: tuple[int, int]) -> list[dict[str, Any]]:
    """COCO run-length encodings `{"size": [H, W], "counts": str}`, equal to pycocotools' own.

    No dense frame is made.

    Args:
        crops: masks of one image.
        image_size: (height, width) of that image.
    """
    from pycocotools import mask as coco

    height, width = image_size
    encoded = []
    for crop in crops:
        runs = {"size": [height, width], "counts": run_lengths(crop, image_size)}
        rle = coco.frPyObjects(runs, height, width)
        encoded.append({"size": [height, width], "counts": rle["counts"].decode("ascii")})
    return encoded


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask, bool [H, W], of COCO's compressed run lengths, as `encode_crops` makes them.

    Args:
        rle: `{"size": [H, W], "counts": str}`.
    """
    runs: list[int] = []
    number = shift = 0
    for byte in rle["counts"].encode("ascii"):
        group = byte - 48  # five bits, lowest first; the sixth tells that more follow
        number |= (group & 0x1F) << shift
        shift += 5
        if not group & 0x20:
            if group & 0x10:
                number -= 1 << shift
            # From the fourth on, a number is the difference to the one two before it.
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    height, width = rle["size"]
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def run_lengths(crop: PastedMask, image_size: tuple[int, int]) -> list[int]:
    """COCO's uncompressed counts of `crop` in its full frame: down the columns, zeros first."""
    height, width = image_size
    columns = np.ascontiguousarray(crop.bits.T)
    padded = np.zeros((columns.shape[0], columns.shape[1] + 2), np.bool_)
    padded[:, 1:-1] = columns
    changes = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    column, row = np.divmod(changes, columns.shape[1] + 1)
    edges = (column + crop.left) * height + row + crop.top
    # A run that reaches the bottom of the image goes on at the top of the next column.
    touches = np.flatnonzero(edges[1:] == edges[:-1])
    edges = np.delete(edges, np.concatenate([touches, touches + 1]))
    counts: list[int] = np.diff(edges, prepend=0, append=height * width).tolist()
    if counts[-1] == 0 and len(counts) > 1:  # the mask ends with the image's last pixel
        counts.pop()
    return counts


def _padded(roi_masks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The soft masks [D, M, M] with a border of zeros: [D, M + 2, M + 2]."""
    border = (PADDING, PADDING)
    return np.pad(np.asarray(roi_masks, np.float32), ((0, 0), border, border))


def _integer_boxes(boxes: NDArray[np.float32], roi_masks: NDArray[np.float32]) -> NDArray[np.int64]:
    """Boxes [D, 4] grown with the masks' border and truncated towards zero, as torchvision does."""
    boxes = np.asarray(boxes, np.float32)
    if not np.isfinite(boxes).all():
        raise InputError(
            "boxes: expected finite pixels, found NaN or infinity; masks have no place"
        )
    size = roi_masks.shape[-1]
    half = np.float32(0.5)
    grown = (boxes[:, 2:] - boxes[:, :2]) * half * np.float32((size + 2 * PADDING) / size)
    centre = (boxes[:, 2:] + boxes[:, :2]) * half
    limit = np.float32(2**62)  # beyond any image, and safe to convert
    corners = np.concatenate([centre - grown, centre + grown], axis=1)
    truncated: NDArray[np.int64] = np.clip(corners, -limit, limit).astype(np.int64)
    return truncated


def _paste(
    mask: NDArray[np.float32],
    box: NDArray[np.int64],
    image_size: tuple[int, int],
    threshold: float,
) -> PastedMask:
    """Resize a padded mask to an integer box; both of its corners are pixels of the box."""
    x1, y1, x2, y2 = (int(value) for value in box)
    height, width = image_size
    left, right = max(x1, 0), min(x2 + 1, width)
    top, bottom = max(y1, 0), min(y2 + 1, height)
    if left >= right or top >= bottom:
        return PastedMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    y = _taps(np.arange(top - y1, bottom - y1), len(mask), y2 - y1 + 1)
    x = _taps(np.arange(left - x1, right - x1), len(mask), x2 - x1 + 1)
    is_small = (y2 - y1 + 1) + (x2 - x1 + 1) <= SMALL_OUTPUT
    resize = _threshold_small_resize if is_small else _threshold_large_resize
    return PastedMask(top, left, resize(mask, y, x, np.float32(threshold)))


class _Taps(NamedTuple):
    """For each target pixel along one axis: its two source cells and their weights, float32."""

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    near: NDArray[np.float32]
    far: NDArray[np.float32]


def _taps(targets: NDArray[np.int64], count: int, size: int) -> _Taps:
    """Where the pixels `targets` of `size` fall among `count` cells (align_corners=False)."""
    scale = np.float32(count) / np.float32(size)
    source = np.maximum(_fused((targets + 0.5).astype(np.float32), scale, np.float32(-0.5)), 0)
    lower = np.minimum(source.astype(np.int64), count - 1)
    far = source - lower.astype(np.float32)
    return _Taps(lower, np.minimum(lower + 1, count - 1), np.float32(1) - far, far)


# torch's CPU code has two kernels for bilinear values at rows `y` and columns `x`, which round
# differently; each function below follows the order of operations of one and compares the values
# with a threshold.


def _threshold_small_resize(
    mask: NDArray[np.float32], y: _Taps, x: _Taps, threshold: np.float32
) -> NDArray[np.bool_]:
    """Small outputs: the kernel weighs the four neighbours of a pixel at once."""
    near, far = y.near[:, None], y.far[:, None]
    value = mask[np.ix_(y.lower, x.upper)] * (near * x.far)
    value = _fused(mask[np.ix_(y.lower, x.lower)], near * x.near, value)
    value = _fused(mask[np.ix_(y.upper, x.lower)], far * x.near, value)
    return _fused(mask[np.ix_(y.upper, x.upper)], far * x.far, value) >= threshold


def _threshold_large_resize(
    mask: NDArray[np.float32], y: _Taps, x: _Taps, threshold: np.float32
) -> NDArray[np.bool_]:
    """Large outputs: the kernel goes along the row first, then down the column.

    Down the column the exact, fused sum is only needed next to the threshold: rounding the product
    as well moves a value below 2 by less than `doubt`.
    """
    doubt = np.float32(2.5e-7)
    across = _fused(mask[:, x.lower], x.near, mask[:, x.upper] * x.far)
    value = across[y.lower]
    value *= y.near[:, None]
    lower = across[y.upper]
    lower *= y.far[:, None]
    value += lower
    result: NDArray[np.bool_] = value >= threshold
    value -= threshold
    doubtful = np.flatnonzero(np.abs(value, out=value) <= doubt)
    row, column = np.divmod(doubtful, value.shape[1])
    exact = _fused(across[y.lower[row], column], y.near[row], lower[row, column])
    result[row, column] = exact >= threshold
    return result


def _fused(
    a: NDArray[np.float32],
    b: NDArray[np.float32] | np.float32,
    c: NDArray[np.float32] | np.float32,
) -> NDArray[np.float32]:
    """Return a * b + c, rounded once to float32, like the multiply-add of torch's kernels.

    The product of two float32 is exact in float64.
    """
    return (np.multiply(a, b, dtype=np.float64) + c).astype(np.float32)
