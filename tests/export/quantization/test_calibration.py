"""Selection of calibration images from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pedseg_export.quantization.calibration import read_calibration
from pedseg_runtime.errors import InputError


def make_image(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten different images."""
    for index in range(10):
        make_image(index).save(tmp_path / f"{index:02}.png")
    return tmp_path


def test_images_are_read_on_access(folder):
    images = read_calibration(folder, minimum=10)

    assert len(images) == 10
    np.testing.assert_array_equal(images[3], np.asarray(make_image(3)))
    assert [file.name for file in images[8:].files] == ["08.png", "09.png"]
    (folder / "03.png").unlink()
    with pytest.raises(InputError, match=r"03\.png"):
        images[3]


def test_of_many_images_an_even_spread_is_taken(folder):
    images = read_calibration(folder, minimum=1, limit=4)

    assert [file.name for file in images.files] == ["00.png", "02.png", "05.png", "07.png"]


def test_too_few_images_are_refused(folder):
    with pytest.raises(InputError, match=r"at least 20 different images.*found 10;"):
        read_calibration(folder)


def test_blank_images_and_copies_do_not_count(folder):
    Image.new("RGB", (12, 8), (0, 0, 200)).save(folder / "night.png")
    make_image(4).save(folder / "again.png")

    assert len(read_calibration(folder, minimum=10)) == 10
    with pytest.raises(InputError, match=r"found 10, and again\.png, night\.png blank or a copy"):
        read_calibration(folder, minimum=11)


def test_unreadable_images_are_named(folder):
    for index in range(7):
        (folder / f"broken{index}.jpg").write_bytes(b"no image")

    with pytest.raises(InputError, match=r"broken0\.jpg.*and 2 more unreadable.*remove or replace"):
        read_calibration(folder, minimum=1)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected images"):
        read_calibration(tmp_path)


def test_limits_that_allow_nothing_are_refused(folder):
    with pytest.raises(InputError, match="minimum <= limit"):
        read_calibration(folder, minimum=5, limit=4)
