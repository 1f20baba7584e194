"""COCO's polygons and run lengths <-> masks.

pycocotools fills polygons and compresses masks. It crashes on coordinates that are not finite or
absurdly large, so these are looked at before; and it makes masks of stray memory from run lengths
that do not fill the frame, so these are taken apart here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from .document import quoted

FARTHEST = 100_000.0  # pixels from the origin; beyond, a polygon belongs to no image
FEWEST = 6  # numbers of a polygon of three points
NO_SEGMENTATION = "it has no segmentation"
_BITS, _SIGN, _MORE, _ZERO = 0x1F, 0x10, 0x20, 48  # of a character of compressed run lengths

Segmentation = Any
"""What JSON holds: polygons [[x, y, x, y, ...], ...] or run lengths {"size": ..., "counts": ...}"""


class Unsound(Exception):  # noqa: N818  # is caught and told with the file
    """A segmentation that breaks the format; the message says how."""


def normalized(segmentation: Segmentation) -> Segmentation:
    """Polygons as COCO has them: of numbers rather than pairs or text, and not a level too deep."""
    if not isinstance(segmentation, list):
        return segmentation
    if len(segmentation) > 2 and all(map(_is_point, segmentation)):
        return [_flat(segmentation)]  # one polygon of pairs, without the list around it
    rings: list[Any] = []
    for ring in segmentation:
        nested = isinstance(ring, list) and bool(ring) and all(isinstance(e, list) for e in ring)
        if not nested or all(map(_is_point, ring)):
            rings.append(_flat(ring))
        else:
            rings.extend(map(_flat, ring))
    return rings


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and not any(map(_is_nested, value))


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | dict)


def _flat(ring: Any) -> Any:
    """A polygon's numbers one after the other; anything else as it is."""
    if not isinstance(ring, list) or not ring:
        return ring
    numbers = [n for point in ring for n in point] if all(map(_is_point, ring)) else ring
    if any(isinstance(number, str) for number in numbers):
        try:
            return [float(number) for number in numbers]
        except (TypeError, ValueError, OverflowError):
            return numbers
    return numbers


def inspect(segmentation: Segmentation, size: tuple[int, int]) -> str | None:
    """Tell why there is nothing to decode; quick, so that a whole file can be looked through.

    Args:
        segmentation: as in the JSON.
        size: (height, width) of the image.

    Returns:
        Why the instance must be left out, or None if it can be decoded.

    Raises:
        Unsound: not the format. Compressed run lengths are only looked at when they are decoded.
    """
    if not segmentation:
        return NO_SEGMENTATION
    if isinstance(segmentation, dict):
        _check_runs(segmentation, size)
        return None
    if not isinstance(segmentation, list):
        raise Unsound(f"expected polygons or run lengths, found {type(segmentation).__name__}")
    if not all(isinstance(polygon, list) for polygon in segmentation):
        raise Unsound("expected a list of polygons [[x, y, ...]], found numbers; add brackets")
    polygons = [_coordinates(polygon) for polygon in _usable(segmentation)]
    if not polygons:
        return "its polygon has fewer than three points"
    farthest = max(float(np.abs(polygon).max()) for polygon in polygons)
    if farthest > FARTHEST:
        return f"its polygon reaches to {farthest:g} px, far outside of the frame"
    return None


def decode(segmentation: Segmentation, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask, bool [H, W], of a segmentation that `inspect` let pass; parts outside are cut off.

    Compressed run lengths may also be bytes, as pycocotools makes them.

    Raises:
        Unsound: run lengths that do not fill the frame.
    """
    height, width = size
    if isinstance(segmentation, list):
        polygons = _usable(segmentation)
        segmentation = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    runs = filling_runs(segmentation["counts"], size)
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)  # column by column
    return pixels.reshape(width, height).T


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Compressed run lengths of a mask [H, W], as JSON types."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def filling_runs(counts: Any, size: tuple[int, int]) -> NDArray[np.int64]:
    """The run lengths that `counts` hold, compressed or as a list; the first is of background.

    Raises:
        Unsound: neither, or run lengths that do not fill (height, width).
    """
    if isinstance(counts, str | bytes):
        runs = run_lengths(counts if isinstance(counts, str) else counts.decode("ascii"))
        total, sound = int(runs.sum()), bool(runs.min(initial=0) >= 0)
    elif isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts):
        total, sound = sum(counts), True
    else:
        raise Unsound("expected run lengths as counts of pixels or a string, found something else")
    if not sound or total != size[0] * size[1]:
        raise Unsound(
            f"expected run lengths of {size[0] * size[1]} pixels, found a total of {total}; the "
            "counts are cut short or damaged"
        )
    return runs if isinstance(counts, str | bytes) else np.array(counts, np.int64)


def run_lengths(counts: str) -> NDArray[np.int64]:
    """The run lengths that compressed `counts` stand for; the first is of background.

    Every number is written in groups of five bits, lowest first, a sixth bit telling that more
    follow and the topmost of the last group being its sign; from the fourth on, a number is the
    difference to the one two before it.

    Raises:
        Unsound: characters that do not occur in run lengths, or an unfinished number.
    """
    try:
        codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - _ZERO
    except UnicodeEncodeError:
        raise Unsound("expected compressed run lengths, found other characters") from None
    if codes.size == 0:
        return np.zeros(0, np.int64)
    last = (codes & _MORE) == 0
    if codes.min() < 0 or codes.max() > _MORE + _BITS or not last[-1]:
        raise Unsound("expected compressed run lengths, found other characters or their end cut")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    place = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
    if place.max() > 6:  # no frame has 2^35 pixels
        raise Unsound("expected compressed run lengths, found a number beyond any frame")
    values = np.add.reduceat((codes & _BITS) << (5 * place), starts)
    negative = (codes[ends] & _SIGN) != 0
    values -= negative.astype(np.int64) << (5 * (place[ends] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def overhang(segmentation: Segmentation, size: tuple[int, int]) -> float:
    """How far polygons reach out of the frame, in pixels; 0 for run lengths."""
    if not isinstance(segmentation, list):
        return 0.0
    height, width = size
    polygons = [np.asarray(polygon, np.float64) for polygon in _usable(segmentation)]
    points = np.concatenate([*polygons, np.zeros(0)]).reshape(-1, 2)
    beyond = np.maximum(-points, points - (width, height))
    return max(0.0, float(beyond.max(initial=0)))


def short_rings(segmentation: Segmentation) -> int:
    """How many of the polygons have fewer than three points, and are left out."""
    return len(segmentation) - len(_usable(segmentation)) if isinstance(segmentation, list) else 0


def _usable(segmentation: list[Any]) -> list[Any]:
    return [polygon for polygon in segmentation if len(polygon) >= FEWEST]


def _coordinates(polygon: list[Any]) -> NDArray[np.float64]:
    """A polygon's numbers as an array."""
    try:
        numbers = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise Unsound("expected a polygon of numbers, found something else among them") from None
    if numbers.ndim != 1 or numbers.size % 2:
        raise Unsound(f"expected pairs of x and y, found a polygon of {numbers.size} numbers")
    if not np.isfinite(numbers).all():
        raise Unsound("expected a polygon of numbers, found NaN or infinity among them")
    return numbers


def _check_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> None:
    height, width = size
    found, counts = segmentation.get("size"), segmentation.get("counts")
    if found != [height, width]:
        hint = "; height comes first" if found == [width, height] else ""
        raise Unsound(
            f"expected run lengths for the image's [height, width] [{height}, {width}], found "
            f"{quoted(found)}{hint}"
        )
    if not isinstance(counts, str):
        filling_runs(counts, size)
