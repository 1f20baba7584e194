from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pedseg_runtime import Detections
from pedseg_runtime.masks import PastedMask
from pedseg_runtime.polygons import outlines

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def filled(polygons: list[NDArray[np.float32]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside any polygon, by the even-odd rule for a ray to the right."""
    result = np.zeros(shape, np.bool_)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    for polygon in polygons:
        inside = np.zeros(shape, np.bool_)
        for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if x1 == x2:
                inside ^= (x < x1) & (min(y1, y2) < y) & (y < max(y1, y2))
        result |= inside
    return result


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Background that cannot reach the border, over edges and corners, becomes mask."""
    outside = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.bool_)
    outside[0, 0] = True
    free = np.pad(~mask, 1, constant_values=True)
    while True:
        grown = outside.copy()
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                grown |= np.roll(outside, (dy, dx), (0, 1))
        grown &= free
        if (grown == outside).all():
            return ~outside[1:-1, 1:-1]
        outside = grown


@given(mask=masks)
@settings(deadline=None, max_examples=300)
@pytest.mark.slow
def test_filling_the_outlines_gives_the_mask_without_its_holes(mask: NDArray[np.bool_]) -> None:
    polygons = outlines(PastedMask(0, 0, mask))
    np.testing.assert_array_equal(filled(polygons, mask.shape), without_holes(mask))


@given(mask=masks)
@settings(deadline=None, max_examples=300)
@pytest.mark.slow
def test_outlines_have_corners_only_and_come_largest_first(mask: NDArray[np.bool_]) -> None:
    polygons = outlines(PastedMask(0, 0, mask))
    for polygon in polygons:
        steps = np.roll(polygon, -1, axis=0) - polygon
        assert ((steps == 0).sum(axis=1) == 1).all()
        is_horizontal = steps[:, 1] == 0
        assert (is_horizontal != np.roll(is_horizontal, 1)).all()
    areas = [filled([polygon], mask.shape).sum() for polygon in polygons]
    assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(["#"], [[[3, 5], [4, 5], [4, 6], [3, 6]]], id="one pixel"),
        pytest.param(["##", "##"], [[[3, 5], [5, 5], [5, 7], [3, 7]]], id="square"),
        pytest.param(["###", "#.#", "###"], [[[3, 5], [6, 5], [6, 8], [3, 8]]], id="hole"),
        pytest.param(
            ["##.", "##.", "..#"],
            [[[3, 5], [5, 5], [5, 7], [3, 7]], [[5, 7], [6, 7], [6, 8], [5, 8]]],
            id="parts at a corner",
        ),
        pytest.param(
            ["#######", "###...#", "#..#..#", "#.....#", "#######"],
            [[[3, 5], [10, 5], [10, 10], [3, 10]], [[6, 7], [7, 7], [7, 8], [6, 8]]],
            id="part in a hole, at a corner of its rim",
        ),
        pytest.param(["..", ".."], [], id="nothing"),
    ],
)
def test_outlines_go_clockwise_along_the_edges_of_pixels(
    rows: list[str], expected: list[list[list[int]]]
) -> None:
    bits = np.array([[letter == "#" for letter in row] for row in rows])
    found = outlines(PastedMask(5, 3, bits))
    assert len(found) == len(expected)
    for polygon, corners in zip(found, expected, strict=True):
        assert polygon.dtype == np.float32
        start = polygon.tolist().index(corners[0])
        assert np.roll(polygon, -start, axis=0).tolist() == corners


def test_detections_have_outlines_in_pixels_of_the_image() -> None:
    detections = Detections(
        boxes=np.array([[10, 20, 40, 80], [-90, -90, -50, -50]], np.float32),
        labels=np.ones(2, np.int64),
        scores=np.array([0.9, 0.8], np.float32),
        roi_masks=np.ones((2, 28, 28), np.float32),
        image_size=(100, 60),
    )
    inside, outside = detections.polygons()
    assert outside == []
    (outline,) = inside
    np.testing.assert_array_equal(filled([outline], (100, 60)), detections.masks()[0])
