from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pycocotools import mask as coco

from pedseg_runtime import InputError
from pedseg_runtime.masks import crop_dense, crop_masks, encode_crops, paste_mask, paste_masks

IMAGE = (60, 80)

soft_masks = st.one_of(
    hnp.arrays(np.float32, (28, 28), elements=st.floats(0, 1, width=32)),
    # Values within a rounding of the threshold, where the order of operations shows.
    hnp.arrays(
        np.float32, (28, 28), elements=st.floats(0.4999998211860657, 0.5000001788139343, width=32)
    ),
    st.integers(0, 2**32 - 1).map(
        lambda seed: np.random.default_rng(seed).random((28, 28), np.float32)
    ),
)


@st.composite
def boxes_on(draw: st.DrawFn, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """A box that shares at least a pixel with the image: tiny, huge or partly outside."""
    height, width = image_size
    x, y = draw(st.floats(1, width - 2)), draw(st.floats(1, height - 2))
    left, top = draw(st.floats(0.01, 3 * width)), draw(st.floats(0.01, 3 * height))
    right, bottom = draw(st.floats(0.01, 3 * width)), draw(st.floats(0.01, 3 * height))
    return np.array([x - left, y - top, x + right, y + bottom], np.float32)


boxes_anywhere = hnp.arrays(np.float32, 4, elements=st.floats(-1e9, 1e9, width=32))


@given(mask=soft_masks, box=boxes_on(IMAGE), threshold=st.sampled_from([0.5, 0.3]))
@settings(max_examples=150, deadline=None)
@pytest.mark.slow
def test_a_pasted_mask_equals_torchvisions_bit_for_bit(
    mask: NDArray[np.float32], box: NDArray[np.float32], threshold: float
) -> None:
    torch = pytest.importorskip("torch")
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    expected = roi_heads.paste_masks_in_image(
        torch.from_numpy(mask)[None, None], torch.from_numpy(box)[None], IMAGE
    )
    ours = paste_masks(mask[None], box[None], IMAGE, threshold)
    np.testing.assert_array_equal(ours, (expected[:, 0] >= threshold).numpy())


@pytest.mark.parametrize(
    "threshold", [pytest.param(0.5, id="the usual threshold"), pytest.param(0.2, id="a low one")]
)
def test_large_masks_equal_torchvisions_bit_for_bit(threshold: float) -> None:
    torch = pytest.importorskip("torch")
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    rng = np.random.default_rng(7)
    masks = (1 / (1 + np.exp(-rng.normal(0, 0.3, (12, 28, 28))))).astype(np.float32)
    corner = rng.uniform(-100, 500, (12, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(101, 900, (12, 2))], 1).astype(np.float32)
    expected = roi_heads.paste_masks_in_image(
        torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (700, 900)
    )
    ours = paste_masks(masks, boxes, (700, 900), threshold)
    np.testing.assert_array_equal(ours, (expected[:, 0] >= threshold).numpy())


def test_pasting_equals_a_digest_recorded_from_torchvision() -> None:
    """The same check where torch is not installed; the digest is that of torchvision's masks."""
    masks, boxes = _recorded_case()
    dense = paste_masks(masks, boxes, (120, 160))
    digest = hashlib.sha256(np.packbits(dense).tobytes()).hexdigest()
    assert digest == "9623833b2bdbe1e024f03b252de71199eb341a2448c8debdd52a5ddb84b56fea"


def test_the_recorded_digest_is_torchvisions() -> None:
    torch = pytest.importorskip("torch")
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    masks, boxes = _recorded_case()
    dense = roi_heads.paste_masks_in_image(
        torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (120, 160)
    )
    np.testing.assert_array_equal(
        paste_masks(masks, boxes, (120, 160)), (dense[:, 0] >= 0.5).numpy()
    )


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([200, 10, 230, 30], id="right"),
        pytest.param([-90, 10, -30, 30], id="left"),
        pytest.param([10, -80, 30, -20], id="above"),
        pytest.param([10, 100, 30, 130], id="below"),
        pytest.param([30, 30, 10, 10], id="inside out"),
    ],
)
def test_a_box_outside_the_image_gives_an_empty_crop(box: list[float]) -> None:
    pasted = paste_mask(np.ones((28, 28), np.float32), np.array(box, np.float32), IMAGE)
    assert pasted.bits.size == 0
    assert pasted.bits.dtype == np.bool_


@given(mask=soft_masks, box=boxes_anywhere)
@settings(max_examples=200, deadline=None)
def test_any_finite_box_pastes_inside_the_image(
    mask: NDArray[np.float32], box: NDArray[np.float32]
) -> None:
    top, left, bits = paste_mask(mask, box, IMAGE)
    assert 0 <= top <= top + bits.shape[0] <= IMAGE[0]
    assert 0 <= left <= left + bits.shape[1] <= IMAGE[1]


def test_a_box_of_nan_is_refused() -> None:
    box = np.array([0, 0, np.nan, 5], np.float32)
    with pytest.raises(InputError, match="finite"):
        paste_mask(np.ones((28, 28), np.float32), box, IMAGE)


def test_no_detections_paste_and_encode_to_nothing() -> None:
    nothing = np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)
    assert paste_masks(*nothing, IMAGE).shape == (0, *IMAGE)
    assert encode_crops(crop_masks(*nothing, IMAGE), IMAGE) == []


@given(
    masks=st.lists(soft_masks, max_size=3),
    data=st.data(),
    image_size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.slow
def test_run_lengths_equal_pycocotools_own(
    masks: list[NDArray[np.float32]], data: st.DataObject, image_size: tuple[int, int]
) -> None:
    near = hnp.arrays(np.float32, 4, elements=st.floats(-60, 100, width=32))
    boxes = np.array([data.draw(near) for _ in masks], np.float32).reshape(-1, 4)
    roi_masks = np.array(masks, np.float32).reshape(-1, 28, 28)
    dense = paste_masks(roi_masks, boxes, image_size)
    expected = [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in dense]
    encoded = encode_crops(crop_masks(roi_masks, boxes, image_size), image_size)
    assert encode_crops(map(crop_dense, dense), image_size) == encoded
    assert [rle["counts"] for rle in encoded] == [rle["counts"].decode() for rle in expected]
    assert [rle["size"] for rle in encoded] == [list(image_size)] * len(masks)


@pytest.mark.parametrize("box", [[-9, -9, 90, 90], [0, 0, 20, 60]], ids=["all", "left columns"])
def test_run_lengths_of_masks_that_touch_every_edge(box: list[float]) -> None:
    mask, image_size = np.ones((1, 28, 28), np.float32), (50, 40)
    boxes = np.array([box], np.float32)
    dense = paste_masks(mask, boxes, image_size)[0]
    expected = coco.encode(np.asfortranarray(dense.astype(np.uint8)))
    for crop in (crop_masks(mask, boxes, image_size)[0], crop_dense(dense)):
        (encoded,) = encode_crops([crop], image_size)
        assert encoded["counts"] == expected["counts"].decode()


def _recorded_case() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Soft masks [6, 28, 28] and boxes [6, 4] from arithmetic that is exact on every machine."""
    cells = np.arange(6 * 28 * 28, dtype=np.int64)
    masks = ((cells * 7919 + cells**2 * 31) % 1024 / 1024).astype(np.float32).reshape(6, 28, 28)
    boxes = np.array(
        [
            [10.25, 20.5, 60.75, 90.125],
            [-20.5, -10.25, 30.5, 40.75],
            [100.0, 60.0, 200.0, 140.0],
            [70.5, 5.5, 72.25, 8.0],
            [-50.0, -50.0, 300.0, 250.0],
            [33.3125, 44.4375, 80.0, 110.0],
        ],
        np.float32,
    )
    return masks, boxes


def test_values_next_to_the_threshold_fall_as_torchvisions_do() -> None:
    """The sum is rounded once in torch; next to the threshold the last bit decides."""
    torch = pytest.importorskip("torch")
    roi_heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    rng = np.random.default_rng(0)
    masks = (0.5 + rng.normal(0, 2e-7, (40, 28, 28))).astype(np.float32)
    corner = rng.uniform(-20, 60, (40, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 200, (40, 2))], 1).astype(np.float32)
    expected = roi_heads.paste_masks_in_image(
        torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (200, 180)
    )
    np.testing.assert_array_equal(
        paste_masks(masks, boxes, (200, 180)), expected[:, 0].numpy() >= 0.5
    )
