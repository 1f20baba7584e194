from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, features

from pedseg_runtime import InputError, read_image
from pedseg_runtime.image_decoding import MAX_HEADER_READS, MAX_SCANS, GuardedFile, open_image


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    """An image [48, 64, 3] that no format stores in few bytes."""
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    """One piece of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG of `count` scans: the first again and again without data, then all."""
    whole = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    start = whole.index(b"\xff\xda")
    length = struct.unpack_from(">H", whole, start + 2)[0]
    more = count - whole.count(b"\xff\xda")
    return whole[:start] + whole[start : start + 2 + length] * more + whole[start:]


def jpeg_of_exif(count: int) -> bytes:
    """Pillow adds each block to those before, so that time grows with the square of `count`."""
    whole = encoded(Image.new("RGB", (8, 8)), "JPEG")
    return whole[:2] + segment(0xE1, b"Exif\0\0a") * count + whole[2:]


def gif_of_comments(count: int) -> bytes:
    whole = encoded(Image.new("L", (4, 4)), "GIF")
    start = whole.index(b"\x2c")
    return whole[:start] + b"\x21\xfe\x01a\0" * count + whole[start:]


def tiff_of_tiles(side: int) -> bytes:
    """A TIFF of 16x16 pixels in one deflated tile of `side` squared."""
    data = zlib.compress(bytes(side * side if side < 100 else 100))
    entries = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1)]
    entries += [(322, side), (323, side), (324, 8), (325, len(data))]
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries
    )
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def run_length_bmp() -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 1, 0, 0, 0, 256, 256)
    data = b"\x04\x00\x00\x00" * 4 + b"\x00\x01"
    offset = 14 + len(header) + 1024
    return (
        b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + bytes(1024) + data
    )


SLOW = "rare, slow encoding"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(jpeg_of_scans(MAX_SCANS + 1), "at most 100 scans", id="scans"),
        pytest.param(jpeg_of_exif(MAX_HEADER_READS), "too much metadata", id="exif blocks"),
        pytest.param(gif_of_comments(MAX_HEADER_READS), "too much metadata", id="comments"),
        pytest.param(tiff_of_tiles(1 << 15), "1073741824 pixels", id="tile"),
        pytest.param(b"P3 2 2 255\n" + b"1 " * 12, SLOW, id="text"),
        pytest.param(b"P6 2 2 100\n" + b"1" * 12, SLOW, id="odd maximum"),
        pytest.param(run_length_bmp(), SLOW, id="run lengths"),
    ],
)
def test_a_small_file_that_asks_for_too_much_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"^image bytes: expected.*{message}"):
        read_image(content)


@pytest.mark.parametrize(
    ("content", "size"),
    [
        pytest.param(jpeg_of_scans(MAX_SCANS), (64, 64), id="scans"),
        pytest.param(jpeg_of_exif(50), (8, 8), id="exif blocks"),
        pytest.param(gif_of_comments(50), (4, 4), id="comments"),
        pytest.param(tiff_of_tiles(64), (16, 16), id="tile larger than the image"),
        pytest.param(b"P6 2 2 255\n" + b"1" * 12, (2, 2), id="PPM"),
        pytest.param(b"P5 2 2 65535\n" + b"1" * 8, (2, 2), id="16-bit PGM"),
    ],
)
def test_a_little_of_it_is_fine(content: bytes, size: tuple[int, int]) -> None:
    assert read_image(content).shape == (*size, 3)


KINDS = [
    pytest.param(kind, options, id=name)
    for name, kind, options in (
        ("PNG", "PNG", {}),
        ("JPEG", "JPEG", {}),
        ("progressive JPEG", "JPEG", {"progressive": True}),
        ("WEBP", "WEBP", {}),
        ("AVIF", "AVIF", {}),
        ("GIF", "GIF", {}),
        ("BMP", "BMP", {}),
        ("TIFF", "TIFF", {}),
        ("TIFF LZW", "TIFF", {"compression": "tiff_lzw"}),
        ("PPM", "PPM", {}),
    )
    if kind != "AVIF" or features.check("avif")
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("is_lenient", [False, True], ids=["", "LOAD_TRUNCATED_IMAGES"])
def test_a_truncated_file_is_refused_whatever_pillow_was_told(
    noise: NDArray[np.uint8],
    kind: str,
    options: dict[str, object],
    is_lenient: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", is_lenient)
    whole = encoded(Image.fromarray(noise), kind, **options)
    assert read_image(whole).shape == noise.shape
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(InputError):
            read_image(whole[: int(len(whole) * share)])


def test_libtiff_gets_no_file_that_it_could_map(noise: NDArray[np.uint8]) -> None:
    content = encoded(Image.fromarray(noise), "TIFF", compression="tiff_lzw")
    image = open_image(io.BytesIO(content))
    assert isinstance(image.fp, GuardedFile)
    assert not hasattr(image.fp, "fileno")
    np.testing.assert_array_equal(np.asarray(image), noise)
