import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pedseg_train.data import Split, find_leaks, open_images
from pedseg_train.data.similarity import (
    BITS,
    LIMIT,
    Pair,
    connected_groups,
    difference_hash,
    folder_groups,
    image_hashes,
    near_identical,
)
from pedseg_train.synthetic.dataset import draw_scene


@pytest.fixture(scope="module")
def streets():
    return [draw_scene(5, index)[0] for index in range(8)]


def compressed(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file).convert("RGB"))


def shrunk(image):
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width * 2 // 3, height * 2 // 3)))


def brightened(image):
    return np.clip(image * 1.1 + 8, 0, 255).astype(np.uint8)


def noisy(image):
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", [compressed, shrunk, brightened, noisy])
@pytest.mark.slow
def test_copies_stay_near_and_other_streets_far(streets, change):
    hashes = np.stack([difference_hash(image) for image in streets])
    copies = np.stack([difference_hash(change(image)) for image in streets])
    distance = (hashes[:, None] != copies[None]).sum(axis=-1)
    assert distance.diagonal().max() <= LIMIT
    assert (distance + np.eye(8) * BITS).min() > LIMIT


@given(
    hashes=st.lists(st.integers(0, 2**12 - 1), max_size=30),
    limit=st.integers(0, 4),
)
def test_pairs_are_those_that_a_comparison_of_all_finds(hashes, limit):
    bits = np.zeros((len(hashes), BITS), bool)
    for row, value in zip(bits, hashes, strict=True):
        row[:12] = [(value >> place) & 1 for place in range(12)]
    pairs = near_identical(bits, limit=limit)
    for first, second, distance in pairs:
        assert first < second
        assert distance == (bits[first] != bits[second]).sum() <= limit
    every = [
        Pair(first, second, 0)
        for first in range(len(bits))
        for second in range(first + 1, len(bits))
        if (bits[first] != bits[second]).sum() <= limit
    ]
    assert connected_groups(pairs) == connected_groups(every)


def test_the_same_file_is_named_even_where_a_third_image_looks_the_same(dataset, smooth):
    images = dataset / "PNGImages"
    smooth(1).save(images / "a.png")
    for name in "bc":
        smooth(1).convert("RGBA").save(images / f"{name}.png")
    leaks = find_leaks(open_images(dataset), Split(train=(0, 1), test=(2, 3)))
    assert [(leak.first, leak.second, leak.identical) for leak in leaks] == [
        ("b", "c", True),
        ("a", "c", False),
    ]


def test_a_thousand_equal_images_are_not_a_million_pairs():
    pairs = near_identical(np.zeros((1000, BITS), bool))
    assert len(pairs) == 999
    assert [len(group) for group in connected_groups(pairs)] == [1000]


def test_blocks_meet_each_other(monkeypatch):
    monkeypatch.setattr("pedseg_train.data.similarity._BLOCK", 2)
    bits = np.eye(5, BITS, dtype=bool)
    assert len(near_identical(bits, limit=2)) == 10


def test_groups_are_what_pairs_connect():
    pairs = [Pair(4, 9, 1), Pair(1, 3, 0), Pair(3, 4, 2), Pair(6, 7, 0)]
    assert connected_groups(pairs) == [(1, 3, 4, 9), (6, 7)]


def test_names_in_one_folder_are_a_group():
    assert folder_groups(["a/1", "b/1", "a/2", "top"]) == [(0, 2), (1,), (3,)]


def test_leaks_are_named_with_their_parts(dataset, smooth):
    images = dataset / "PNGImages"
    for name, size in (("a", (30, 20)), ("b", (60, 40)), ("c", (30, 20))):
        smooth(1, size).save(images / f"{name}.png")
    opened = open_images(dataset)
    seen = []
    leaks = find_leaks(
        opened,
        Split(train=(0,), val=(1,), test=(2, 3)),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert str(leaks[0]) == "a in train is the same file as c in test"
    assert re.fullmatch(r"a in train looks like \(distance \d+ of 256\) b in val", str(leaks[1]))
    assert {leak.distance for leak in leaks} != {0}
    assert seen[-1] == (4, 4)
    assert find_leaks(opened, Split(train=(0, 1, 2), test=(3,))) == []
    assert find_leaks(opened, Split(train=(0, 1), test=(3,))) == []


@pytest.mark.photos
def test_real_photographs_are_told_apart(photos):
    assert near_identical(image_hashes(open_images(photos))) == []
