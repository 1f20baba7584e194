from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import Detections, InputError, Segmenter, draw_detections, draw_instances
from pedseg_runtime.draw import instance_color


def test_neighbouring_colors_differ_and_stay() -> None:
    colors = [instance_color(index) for index in range(36)]
    assert len(set(colors)) == 36
    assert colors == [instance_color(index) for index in range(36)]
    for one, other in itertools.pairwise(colors):
        assert np.abs(np.subtract(one, other)).sum() > 100


def test_an_overlay_paints_instances_and_leaves_the_rest(
    segmenter: Segmenter, street: NDArray[np.uint8]
) -> None:
    large = np.kron(street, np.ones((6, 6, 1), np.uint8))
    before = large.copy()
    found = segmenter(large)
    image = draw_detections(large, found)
    after = np.asarray(image)
    assert image.size == (360, 240)
    np.testing.assert_array_equal(large, before)
    for mask in found.masks():
        assert (after[mask] != before[mask]).any(axis=1).all()
    np.testing.assert_array_equal(after[-20:], before[-20:])


def test_a_pil_image_and_its_array_draw_the_same(
    segmenter: Segmenter, street: NDArray[np.uint8]
) -> None:
    found = segmenter(street)
    one, other = found.draw(street), found.draw(Image.fromarray(street))
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_no_detections_leave_the_image_as_it_is(street: NDArray[np.uint8]) -> None:
    image = draw_detections(street, Detections.empty((40, 60)))
    np.testing.assert_array_equal(np.asarray(image), street)


def test_an_image_of_another_size_is_refused(street: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"own size \(41, 60\)"):
        draw_detections(street, Detections.empty((41, 60)))


def test_ground_truth_draws_from_dense_masks(street: NDArray[np.uint8]) -> None:
    masks = np.zeros((3, 40, 60), bool)
    masks[0, 5:20, 10:30] = True
    masks[1, :, 59] = True
    image = np.asarray(draw_instances(street, masks))
    assert tuple(image[5, 10]) == instance_color(0), "the outline has the pure color"
    assert (image[10, 15] != street[10, 15]).any()
    np.testing.assert_array_equal(image[:, 35:59], street[:, 35:59])
    boxes = np.array([[10, 5, 30, 20], [59, 0, 60, 40], [0, 0, 0, 0]], np.float32)
    draw_instances(street, masks, boxes, ["1", "a caption wider than the image", ""])
    draw_instances(street, masks, captions=["1", "2", "3"])


def test_masks_of_another_size_are_refused(street: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"expected \[N, 40, 60\]"):
        draw_instances(street, np.zeros((1, 40, 61), bool))


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (1500, 2)], ids=str)
def test_odd_sizes_and_boxes_beyond_the_image_draw(size: tuple[int, int]) -> None:
    boxes = np.array([[-50, -50, 900, 900], [0.2, 0.2, 0.4, 0.4], [800, 0, 900, 9]], np.float32)
    found = Detections(
        boxes=boxes,
        labels=np.ones(3, np.int64),
        scores=np.array([0.9, 0.5, 0.1], np.float32),
        roi_masks=np.ones((3, 28, 28), np.float32),
        image_size=size,
    )
    assert found.draw(np.zeros((*size, 3), np.uint8)).size == size[::-1]
