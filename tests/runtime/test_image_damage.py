"""Parts that a decoder paints grey or black are no image, whatever the process told Pillow."""

from __future__ import annotations

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from pedseg_runtime import InputError, read_image

PARTLY = "no data for a part of it"


@pytest.fixture(params=[False, True], ids=["", "LOAD_TRUNCATED_IMAGES"], autouse=True)
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", request.param)


def photo(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1)
    noise = np.random.default_rng(0).integers(-20, 20, smooth.shape)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


JPEGS = [
    pytest.param({"quality": 85}, id="baseline"),
    pytest.param({"quality": 95, "subsampling": 0, "optimize": True}, id="4:4:4, own tables"),
    pytest.param({"restart_marker_rows": 1}, id="restarts"),
    pytest.param({"restart_marker_blocks": 3}, id="short restarts"),
]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", JPEGS)
def test_a_jpeg_without_its_end_is_refused_though_it_is_closed(
    options: dict[str, object], mode: str
) -> None:
    stream = io.BytesIO()
    Image.fromarray(photo()).convert(mode).save(stream, "JPEG", **options)
    whole = stream.getvalue()
    assert read_image(whole).shape == (120, 160, 3)
    start = whole.index(b"\xff\xda") + 14
    for cut in (start, start + (len(whole) - start) // 2, start + (len(whole) - start) * 9 // 10):
        with pytest.raises(InputError):
            read_image(whole[:cut] + b"\xff\xd9")
        if "optimize" not in options:  # zeros are flat blocks to tables made for the image
            with pytest.raises(InputError):
                read_image(whole[:cut] + bytes(len(whole) - cut - 2) + b"\xff\xd9")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (8, 9), (120, 160), (121, 163)])
@pytest.mark.parametrize("progressive", [False, True])
def test_restart_markers_are_counted_right(
    progressive: bool, size: tuple[int, int], subsampling: int
) -> None:
    for blocks in (1, 2, 7):
        whole = jpeg(
            photo(*size),
            progressive=progressive,
            subsampling=subsampling,
            restart_marker_blocks=blocks,
        )
        assert read_image(whole).shape == (*size, 3)


@pytest.mark.parametrize("options", JPEGS)
def test_a_jpeg_without_its_middle_is_refused(options: dict[str, object]) -> None:
    whole = jpeg(photo(), **options)
    with pytest.raises(InputError, match=PARTLY):
        read_image(whole[: len(whole) // 3] + whole[len(whole) * 2 // 3 :])


def test_a_progressive_jpeg_without_its_first_scan_is_refused() -> None:
    whole = jpeg(photo(), progressive=True)
    start = whole.index(b"\xff\xda")
    with pytest.raises(InputError, match=PARTLY):
        read_image(whole[: start + 40] + b"\xff\xd9")


@pytest.mark.parametrize("color", [(128, 128, 128), (127, 127, 127), (0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("options", [*JPEGS, pytest.param({"progressive": True}, id="progressive")])
def test_an_image_that_ends_in_grey_is_no_damage(
    options: dict[str, object], color: tuple[int, int, int]
) -> None:
    pixels = photo()
    pixels[60:] = color
    found = read_image(jpeg(pixels, **options))
    assert np.abs(found[80:].astype(int) - color).max() <= 1
    plain = np.full((33, 47, 3), color, np.uint8)
    assert np.abs(read_image(jpeg(plain, **options)).astype(int) - color).max() <= 1


def test_what_follows_a_jpeg_does_not_matter() -> None:
    pixels = photo()
    pixels[60:] = 128
    whole = jpeg(pixels)
    for tail in (bytes(500), b"\xff\xd9", jpeg(photo(40, 30))):
        np.testing.assert_array_equal(read_image(whole + tail), read_image(whole))


def test_a_jpeg_followed_by_another_is_refused_where_it_breaks_off() -> None:
    whole = jpeg(photo())
    with pytest.raises(InputError):
        read_image(whole[: len(whole) // 2] + whole)


def chunk(kind: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    found = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", found)


def png(pixels: NDArray[np.uint8], data: bytes | None = None, *, before: bytes = b"") -> bytes:
    """A PNG of RGB, with other image data and more chunks if asked for."""
    height, width = pixels.shape[:2]
    if data is None:
        data = zlib.compress(rows(pixels))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = before + chunk(b"IDAT", data[:99]) + chunk(b"IDAT", data[99:]) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def rows(pixels: NDArray[np.uint8]) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def test_a_png_whose_data_ends_early_is_refused() -> None:
    pixels = photo()
    everything = rows(pixels)
    np.testing.assert_array_equal(read_image(png(pixels)), pixels)
    with pytest.raises(InputError, match=PARTLY):
        read_image(png(pixels, zlib.compress(everything[: len(everything) // 2])))
    with pytest.raises(InputError):
        read_image(png(pixels, zlib.compress(everything)[: len(everything) // 4]))
    wrong = bytearray(zlib.compress(everything))
    wrong[-1] ^= 255
    with pytest.raises(InputError):
        read_image(png(pixels, bytes(wrong)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (33, 7), (640, 480)])
def test_a_black_png_is_no_damage(mode: str, size: tuple[int, int]) -> None:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "PNG")
    assert not read_image(stream.getvalue()).any()


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 8), (50, 41)])
def test_an_interlaced_png_must_have_all_passes(size: tuple[int, int]) -> None:
    width, height = size
    starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    pixels = np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)
    data = b"".join(
        rows(part)
        for left, top, across, down in [*starts, (0, 1, 1, 2)]
        if (part := pixels[top::down, left::across]).size
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1))

    def whole(data: bytes) -> bytes:
        body = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + header + body

    np.testing.assert_array_equal(read_image(whole(data)), pixels)
    with pytest.raises(InputError):
        read_image(whole(data[:-2]))


def test_damaged_metadata_of_a_png_is_refused() -> None:
    with pytest.raises(InputError):
        read_image(png(photo(), before=chunk(b"eXIf", b"II*\0", checksum=7)))


def test_a_setting_that_changes_meanwhile_has_no_effect() -> None:
    """Another thread switches Pillow's setting as fast as it can."""
    whole = jpeg(photo())
    files = [
        whole[: len(whole) // 2],
        whole[: len(whole) // 2] + whole,
        png(photo(), zlib.compress(rows(photo()))[:5000]),
    ]
    is_done = threading.Event()

    def switch() -> None:
        while not is_done.is_set():
            ImageFile.LOAD_TRUNCATED_IMAGES = not ImageFile.LOAD_TRUNCATED_IMAGES

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        for _ in range(50):
            for content in files:
                with pytest.raises(InputError):
                    read_image(content)
    finally:
        is_done.set()
        thread.join()
