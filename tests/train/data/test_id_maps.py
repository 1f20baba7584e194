"""Masks of the field that are no id maps are named as what they are."""

import io

import numpy as np
import pytest
from PIL import Image

from pedseg_train.data.check import check_dataset
from pedseg_train.data.id_maps import id_extents, id_map_fault
from pedseg_train.data.pennfudan import people


@pytest.fixture
def ids():
    found = np.zeros((80, 96), np.uint8)
    found[10:60, 8:38] = 1
    found[15:70, 50:85] = 2
    return found


def white(ids):
    return ((ids > 0) * 255).astype(np.uint8)


def smooth(ids):
    small = Image.fromarray(white(ids)).resize((64, 53), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((96, 80), Image.Resampling.BILINEAR))


def compressed(ids):
    stream = io.BytesIO()
    Image.fromarray(white(ids)).save(stream, "JPEG", quality=80)
    return np.asarray(Image.open(stream))


def bordered(ids):
    found = ids.copy()
    found[8:10, 8:38] = 255
    return found


@pytest.mark.parametrize(
    ("change", "severity", "words"),
    [
        pytest.param(smooth, "error", "edges without an inside", id="smooth edges"),
        pytest.param(compressed, "error", "saved as JPEG", id="JPEG"),
        pytest.param(bordered, "error", "PASCAL VOC", id="void"),
        pytest.param(white, "warning", "white silhouette", id="white"),
        pytest.param(lambda ids: 255 - white(ids), "error", "in all corners", id="inverted"),
        pytest.param(lambda ids: ids + np.uint8(7), "error", "found no 0 but 7, 8, 9", id="no 0"),
    ],
)
def test_what_is_no_id_map_is_named(ids, change, severity, words):
    found = id_map_fault(change(ids))
    assert found is not None
    assert found[0] == severity
    assert words in found[1]


def test_id_maps_have_no_fault(ids):
    thin = ids.copy()
    thin[0, 0], thin[2:30, 45] = 3, 4
    many = np.arange(300, dtype=np.uint16).reshape(15, 20)  # a pixel each, but numbered
    for sound in (
        ids,
        thin,
        many,
        ids.astype(np.uint16) * 300,
        ids * 0,
        (ids > 0).astype(np.uint8),
    ):
        assert id_map_fault(sound) is None


def test_extents_are_those_of_the_masks(ids):
    found, expected = id_extents(ids), people(ids)
    assert found.boxes.tolist() == expected.boxes.tolist()
    assert found.pixels.tolist() == expected.masks.sum(axis=(1, 2)).tolist()
    assert found.ids.tolist() == expected.ids.tolist()


def test_check_tells_it_once_for_all_masks(make_dataset, ids):
    report = check_dataset(make_dataset({name: smooth(ids) for name in "abc"}))
    ((problem, more),) = report.grouped()
    assert problem.severity == "error"
    assert more == 2


def test_empty_masks_alone_are_an_error(make_dataset, ids):
    report = check_dataset(make_dataset({"a": ids * 0}))
    assert [each.message for each in report.errors] == [
        "expected people to learn from, found none: all masks are empty"
    ]


def tag(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_orientation_on_the_image_alone_is_an_error_and_on_both_is_none(
    make_dataset, ids, orientation
):
    root = make_dataset({"a": ids})
    tag(root / "PNGImages" / "a.png", orientation)
    (error,) = check_dataset(root).errors
    assert f"EXIF orientation of {orientation} on the image only" in error.message
    tag(root / "PedMasks" / "a_mask.png", orientation)
    assert not check_dataset(root).problems


def test_jpeg_and_capital_suffixes_are_images(make_dataset, ids):
    root = make_dataset({"a": ids, "b": ids, "c": ids})
    images = root / "PNGImages"
    Image.open(images / "a.png").save(images / "a.JPG")
    (images / "a.png").unlink()
    (images / "b.png").rename(images / "b.PNG")
    (root / "PedMasks" / "b_mask.png").rename(root / "PedMasks" / "b_mask.PNG")
    Image.open(images / "c.png").save(images / "c.jpg")
    report = check_dataset(root)
    assert report.pairs == 3
    assert [(each.file, each.message) for each in report.problems] == [
        ("PNGImages/c.jpg", "expected one image of a name, found c.png too; not used")
    ]
