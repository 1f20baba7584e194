"""What was found cannot be recognised, and all else stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import Detections, InputError
from pedseg_runtime.blur import blur_masks, blur_whole
from pedseg_runtime.masks import PastedMask

STRIPES = np.tile(np.array([0, 255], np.uint8), 100)[None, :, None].repeat(120, 0).repeat(3, 2)


def crop(top: int, left: int, height: int, width: int) -> PastedMask:
    return PastedMask(top, left, np.ones((height, width), np.bool_))


@pytest.mark.parametrize(
    "mask",
    [crop(30, 50, 60, 40), crop(0, 0, 40, 30), crop(80, 160, 40, 40), crop(20, 20, 1, 1)],
    ids=["inside", "first corner", "last corner", "one pixel"],
)
def test_the_details_of_a_mask_are_gone_and_no_others(mask: PastedMask) -> None:
    blurred = np.asarray(blur_masks(STRIPES, [mask], STRIPES.shape[:2]))
    rows = slice(mask.top, mask.top + mask.bits.shape[0])
    columns = slice(mask.left, mask.left + mask.bits.shape[1])
    assert np.ptp(blurred[rows, columns].astype(int)) < 60  # of 255
    changed = (blurred != STRIPES).any(axis=2)
    margin = 2 + max(mask.bits.shape) // 20
    near = np.zeros(changed.shape, np.bool_)
    near[
        max(0, mask.top - margin) : rows.stop + margin,
        max(0, mask.left - margin) : columns.stop + margin,
    ] = True
    assert not changed[~near].any()
    assert changed.sum() > mask.bits.sum()  # close by as well


def test_a_crop_is_blurred_by_its_own_shape() -> None:
    triangle = PastedMask(10, 10, np.tri(80, dtype=np.bool_))
    blurred = np.asarray(blur_masks(STRIPES, [triangle], STRIPES.shape[:2]))
    assert (blurred[12, 80:] == STRIPES[12, 80:]).all()  # in the box, far from the mask
    assert (blurred[80, 20:80] != STRIPES[80, 20:80]).all()


def test_the_margin_grows_with_the_person() -> None:
    """By 4 % of the longer side, on all sides, and no more."""
    image = np.zeros((1000, 700, 3), np.uint8)
    image[::2] = 255
    blurred = np.asarray(blur_masks(image, [crop(100, 200, 800, 300)], image.shape[:2]))
    rows, columns = np.nonzero((blurred != image).any(axis=2))
    assert (rows.min(), rows.max()) == (100 - 32, 900 + 32 - 1)
    assert (columns.min(), columns.max()) == (200 - 32, 500 + 32 - 1)


def test_nothing_found_leaves_the_image_alone_and_all_of_it_can_be_blurred() -> None:
    original = STRIPES.copy()
    none = Detections.empty((120, 200)).blur(STRIPES)
    assert np.array_equal(np.asarray(none), STRIPES)
    assert np.ptp(np.asarray(blur_whole(STRIPES)).astype(int)) < 60
    assert np.array_equal(STRIPES, original)


def test_another_image_than_the_segmented_one_is_refused(street: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="blur the image that was segmented"):
        Detections.empty((120, 200)).blur(street)
