import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from pedseg_runtime.detections import Detections
from pedseg_train.data.coco.segmentation import (
    Unsound,
    decode,
    encode,
    inspect,
    overhang,
    run_lengths,
)

SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))
MASKS = SIZES.flatmap(lambda size: arrays.arrays(np.bool_, size))


def runs_of(mask):
    """Uncompressed run lengths, the obvious way."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def filled(mask):
    """The mask without its holes: all that cannot be reached from outside, side by side."""
    outside = Image.fromarray(np.pad(mask, 1).astype(np.uint8)).copy()
    ImageDraw.floodfill(outside, (0, 0), 2)
    return np.asarray(outside)[1:-1, 1:-1] != 2


@given(mask=MASKS)
def test_run_lengths_of_either_kind_hold_a_mask(mask):
    compressed = encode(mask)
    assert run_lengths(compressed["counts"]).tolist() == runs_of(mask)
    plain = {"size": list(mask.shape), "counts": runs_of(mask)}
    for segmentation in (compressed, plain):
        assert inspect(segmentation, mask.shape) is None
        assert np.array_equal(decode(segmentation, mask.shape), mask)


@given(bits=st.binary(min_size=40, max_size=40), repeat=st.integers(1, 3000))
@pytest.mark.slow
def test_large_numbers_survive_compression(bits, repeat):
    column = np.unpackbits(np.frombuffer(bits, np.uint8)).astype(bool)
    mask = np.repeat(column[:, None], repeat, axis=1)
    counts = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert run_lengths(counts).tolist() == runs_of(mask)


@given(mask=MASKS)
def test_outlines_along_pixel_edges_cover_the_mask(mask):
    """What the runtime calls a mask's polygons is read as that mask with its holes filled."""
    detections = Detections(
        boxes=np.zeros((1, 4), np.float32),
        labels=np.ones(1, np.int64),
        scores=np.ones(1, np.float32),
        roi_masks=None,
        image_size=mask.shape,
        full_masks=mask[None].astype(np.uint8),
    )
    polygons = [outline.ravel().tolist() for outline in detections.polygons()[0]]
    if not polygons:
        assert not mask.any()
        return
    found = decode(polygons, mask.shape)
    assert not (mask & ~found).any()
    assert not (found & ~filled(mask)).any()
    assert overhang(polygons, mask.shape) == 0


@given(
    left=st.integers(-40, 40),
    top=st.integers(-40, 40),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
)
def test_a_rectangle_covers_its_pixels_and_is_cut_at_the_frame(left, top, width, height):
    right, bottom = left + width, top + height
    expected = np.zeros((20, 30), bool)
    expected[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
    polygon = [[left, top, right, top, right, bottom, left, bottom]]
    assert inspect(polygon, (20, 30)) is None
    assert np.array_equal(decode(polygon, (20, 30)), expected)
    assert overhang(polygon, (20, 30)) == max(0, -left, -top, right - 30, bottom - 20)


def test_parts_of_an_instance_are_one_mask():
    mask = decode([[0, 0, 2, 0, 2, 2, 0, 2], [5, 5, 8, 5, 8, 8, 5, 8], [1, 1]], (20, 30))
    assert mask.sum() == 4 + 9


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        pytest.param(None, "no segmentation", id="absent"),
        pytest.param([], "no segmentation", id="empty list"),
        pytest.param({}, "no segmentation", id="empty object"),
        pytest.param([[]], "fewer than three points", id="empty polygon"),
        pytest.param([[1, 2, 3, 4]], "fewer than three points", id="a line"),
        pytest.param([[0, 0, 1e9, 0, 0, 1e9]], r"reaches to 1e\+09 px", id="far outside"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(segmentation, reason):
    assert re.search(reason, inspect(segmentation, (20, 30)))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        pytest.param("abc", "found str", id="text"),
        pytest.param([1, 2, 3, 4, 5, 6], "add brackets", id="brackets forgotten"),
        pytest.param([[1, 2, 3, 4, 5, 6, 7]], "7 numbers", id="odd"),
        pytest.param([[1, 2, 3, 4, 5, "x"]], "something else", id="text in a polygon"),
        pytest.param([[1, 2, 3, 4, 5, None]], "NaN", id="null in a polygon"),
        pytest.param([[1, 2, 3, 4, 5, float("nan")]], "NaN", id="NaN"),
        pytest.param([[1, 2, 3, 4, 5, 10**400]], "something else", id="beyond floats"),
        pytest.param([[[1, 2], [3, 4], [5, 6]] * 2], "6 numbers|12 numbers", id="pairs"),
        pytest.param({"counts": [600]}, "found None", id="no size"),
        pytest.param({"size": [30, 20], "counts": [600]}, "height comes first", id="turned"),
        pytest.param({"size": [10, 10], "counts": [100]}, r"\[20, 30\], found \[10", id="size"),
        pytest.param({"size": [20, 30], "counts": [599]}, "a total of 599", id="short"),
        pytest.param({"size": [20, 30], "counts": [-1, 601]}, "something else", id="negative"),
        pytest.param({"size": [20, 30], "counts": [600.0]}, "something else", id="fractions"),
        pytest.param({"size": [20, 30]}, "something else", id="no counts"),
    ],
)
def test_what_breaks_the_format_is_refused_at_once(segmentation, message):
    with pytest.raises(Unsound, match=message):
        inspect(segmentation, (20, 30))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        pytest.param("", "total of 0", id="nothing"),
        pytest.param("hé", "other characters", id="not ASCII"),
        pytest.param("~~~", "other characters", id="beyond the alphabet"),
        pytest.param("ooo", "end cut", id="unfinished"),
        pytest.param("oooooooooo0", "beyond any frame", id="huge"),
        pytest.param("00", "total of 0", id="zeros"),
        pytest.param("d0O0", "total of", id="negative"),
    ],
)
def test_damaged_compressed_runs_are_refused_before_they_are_decoded(counts, message):
    """pycocotools would fill the rest of the mask with whatever was in memory."""
    with pytest.raises(Unsound, match=message):
        decode({"size": [20, 30], "counts": counts}, (20, 30))


@given(mask=arrays.arrays(np.bool_, (20, 30)), cut=st.integers(1, 5))
def test_runs_that_were_cut_short_are_refused(mask, cut):
    segmentation = encode(mask)
    segmentation["counts"] = segmentation["counts"][:-cut]
    with pytest.raises(Unsound):
        decode(segmentation, (20, 30))


@given(counts=st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30))
def test_any_text_is_a_mask_or_refused(counts):
    try:
        runs = run_lengths(counts)
    except Unsound:
        return
    if runs.size and runs.min() >= 0 and runs.sum() == 600:
        assert decode({"size": [20, 30], "counts": counts}, (20, 30)).sum() == runs[1::2].sum()
    else:
        with pytest.raises(Unsound):
            decode({"size": [20, 30], "counts": counts}, (20, 30))
