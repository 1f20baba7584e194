"""Masks as outlines, for tools that take polygons.

An outline goes along the edges of pixels, so filling it gives the mask again: no pixel is cut in
half as by contours through pixel centres. Pixels that touch only at a corner belong to different
outlines. Holes are left out: COCO's polygons cannot say "not here".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .masks import PastedMask


def outlines(crop: PastedMask) -> list[NDArray[np.float32]]:
    """The outer outlines of a mask, the largest first.

    Args:
        crop: a mask, of any number of parts.

    Returns:
        Per part (its pixels share edges) float32 [P, 2]: x y of the corners in pixels of the image,
        clockwise on a screen, no three in a line, without repeating the first.
    """
    edges = _edges(crop.bits)
    rings = []
    while edges:
        ring = _trace(edges)
        area = _area(ring)
        if area > 0:  # holes run the other way round
            rings.append((area, ring))
    rings.sort(key=lambda found: -found[0])
    offset = np.array([crop.left, crop.top], np.float32)
    return [np.array(ring, np.float32)[:, ::-1] + offset for _, ring in rings]


def simplify(ring: NDArray[np.float32], tolerance: float) -> NDArray[np.float32]:
    """Leave out corners of an outline, none of them farther than `tolerance` from the rest.

    The algorithm is that of Douglas and Peucker (1973), on the two halves between the first corner
    and the one farthest from it.

    Args:
        ring: float32 [P, 2], x y, closed without repeating the first.
        tolerance: in pixels; 0 leaves out only what lies on a line.

    Returns:
        Some of the corners in their order, at least three.
    """
    count = len(ring)
    closed = np.concatenate([ring, ring[:1]]).astype(np.float64)
    middle = int(np.argmax(np.hypot(*(closed[:-1] - closed[0]).T)))
    kept = np.zeros(count + 1, np.bool_)
    kept[[0, middle]] = True
    waiting = [(0, middle), (middle, count)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        farthest = int(np.argmax(distances))
        if distances[farthest] > tolerance:
            place = first + 1 + farthest
            kept[place] = True
            waiting += [(first, place), (place, last)]
    chosen = ring[kept[:-1]]
    return chosen if len(chosen) > 2 else ring


def _distances(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far points [P, 2] are from the stretch between two others."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    return np.asarray(np.hypot(*(points - start - share[:, None] * along).T))


def _edges(bits: NDArray[np.bool_]) -> dict[tuple[int, int, int], tuple[int, int]]:
    """Stretches of pixel edges with the mask on their right: (row, column, direction) -> end."""
    padded = np.pad(bits, 1)
    found: dict[tuple[int, int, int], tuple[int, int]] = {}
    here = padded[1:-1, 1:-1]
    for direction, outside in enumerate(
        (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    ):
        is_edge = here & ~outside
        lines = is_edge if direction in (0, 2) else is_edge.T
        for line, first, last in _runs(lines):
            found.update([_stretch(direction, line, first, last)])
    return found


def _runs(lines: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Every run of True in the rows of `lines`: row, first and one past the last column."""
    padded = np.pad(lines, ((0, 0), (1, 1)))
    row, column = np.divmod(np.flatnonzero(padded[:, 1:] != padded[:, :-1]), padded.shape[1] - 1)
    return list(zip(row[::2].tolist(), column[::2].tolist(), column[1::2].tolist(), strict=True))


def _stretch(
    direction: int, line: int, first: int, last: int
) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """Where a run of edge pixels starts, in which direction it goes, and where it ends."""
    if direction == 0:  # along the top, to the right
        return (line, first, 0), (line, last)
    if direction == 1:  # along the right side, down
        return (first, line + 1, 1), (last, line + 1)
    if direction == 2:  # along the bottom, to the left
        return (line + 1, last, 2), (line + 1, first)
    return (last, line, 3), (first, line)  # along the left side, up


def _trace(edges: dict[tuple[int, int, int], tuple[int, int]]) -> list[tuple[int, int]]:
    """Follow and take out one closed ring of stretches: its corners (row, column)."""
    start = key = next(iter(edges))
    ring = []
    while True:
        row, column, direction = key
        ring.append((row, column))
        end = edges.pop(key)
        # Where two parts touch at a corner, the sharp turn to the right stays on its own part.
        right = (*end, (direction + 1) % 4)
        key = right if right == start or right in edges else (*end, (direction + 3) % 4)
        if key == start:
            return ring


def _area(ring: list[tuple[int, int]]) -> float:
    """Twice the area inside a ring; negative if it runs anticlockwise on a screen."""
    corners = np.array(ring, np.int64)
    row, column = corners[:, 0], corners[:, 1]
    return float((column * np.roll(row, -1) - np.roll(column, -1) * row).sum())
