from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features

from pedseg_runtime import DeviceError, InputError, Segmenter, find_images, read_image
from pedseg_runtime.images import SUFFIXES, has_more_frames, readable_suffixes


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """An image [20, 30, 3] whose four quarters differ, so that a turn or flip shows."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[:10, :15] = (250, 10, 10)
    image[:10, 15:] = (10, 250, 10)
    image[10:, :15] = (10, 10, 250)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_every_source_of_one_image_reads_the_same(
    pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    image = Image.fromarray(pixels)
    path = tmp_path / "a.png"
    image.save(path)
    for source in (pixels, image, path, str(path), path.read_bytes()):
        read = read_image(source)
        assert read.dtype == np.uint8
        assert read.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    ("mode", "tolerance"),
    [
        *(("RGB", 0), ("RGBA", 0), ("RGBa", 0), ("RGBX", 0), ("P", 0)),
        *(("CMYK", 0), ("HSV", 3), ("YCbCr", 3)),
    ],
)
def test_color_modes_become_rgb(pixels: NDArray[np.uint8], mode: str, tolerance: int) -> None:
    image = Image.fromarray(pixels)
    if mode == "RGBa":
        image = image.convert("RGBA")
    image = image.convert(mode, palette=Image.Palette.ADAPTIVE)
    difference = read_image(image).astype(int) - pixels
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "PA", "I", "I;16", "I;16B"])
def test_grey_modes_become_rgb(mode: str) -> None:
    grey = np.array([[0, 255], [255, 0]], np.uint8)
    if mode.startswith("I"):
        dtype = {"I": np.int32, "I;16": "<u2", "I;16B": ">u2"}[mode]
        data = (grey.astype(np.int64) * 257).astype(dtype)
        image = Image.frombytes(mode, (2, 2), data.tobytes())
    else:
        image = Image.fromarray(grey).convert(mode)
    np.testing.assert_array_equal(read_image(image), np.repeat(grey[..., None], 3, 2))


def test_sixteen_bit_png_is_scaled_not_cut() -> None:
    values = np.array([[0, 128 * 257, 65535]], np.uint16)
    data = encoded(Image.fromarray(values))
    assert read_image(data)[0, :, 0].tolist() == [0, 128, 255]


def test_sixteen_bit_color_keeps_its_high_bytes() -> None:
    values = (np.arange(2 * 3 * 3) * 3600).astype(">u2").reshape(2, 3, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    np.testing.assert_array_equal(read_image(data), values >> 8)


def test_thirty_two_bit_pixels_are_refused() -> None:
    with pytest.raises(InputError, match=r"PIL image: expected.*32-bit integers"):
        read_image(Image.fromarray(np.full((2, 2), 70_000, np.int32)))
    with pytest.raises(InputError, match="32-bit floats"):
        read_image(Image.fromarray(np.full((2, 2), 0.5, np.float32)))


def test_a_mode_without_colors_is_refused() -> None:
    with pytest.raises(InputError, match="found La; convert it to RGB"):
        read_image(Image.new("LA", (2, 2)).convert("La"))


def test_transparent_palette_reads_without_a_warning(pixels: NDArray[np.uint8]) -> None:
    image = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)
    data = encoded(image, transparency=bytes([0, 128, 255, 7]))
    np.testing.assert_array_equal(read_image(data), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(
    pixels: NDArray[np.uint8], kind: str, orientation: int
) -> None:
    # What a camera stores so that turning it by `orientation` shows `pixels` upright.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(stored.copy()), kind, exif=exif, **lossless)
    read = read_image(data)
    assert read.shape == pixels.shape
    # JPEG blurs the borders of the quarters, so look inside them.
    np.testing.assert_allclose(read[5::10, 7::15].astype(int), pixels[5::10, 7::15], atol=12)


def test_the_callers_pil_image_stays_as_it_was(pixels: NDArray[np.uint8]) -> None:
    image = Image.fromarray(pixels).convert("P")
    image.info["transparency"] = b"\x00\x10"
    read_image(image)
    assert image.mode == "P"
    assert image.info["transparency"] == b"\x00\x10"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        pytest.param(np.zeros((4, 5, 3), np.float32), "expected uint8.*float32", id="float"),
        pytest.param(np.zeros((4, 5), bool), "expected uint8.*bool", id="bool"),
        pytest.param(np.zeros((3, 40, 50), np.uint8), "channels first", id="channels first"),
        pytest.param(np.zeros((2, 4, 5, 3), np.uint8), r"one image.*\[2, 4, 5, 3\]", id="batch"),
        pytest.param(np.zeros((4, 5, 2), np.uint8), r"found \[4, 5, 2\]", id="two channels"),
        pytest.param(np.zeros((0, 5, 3), np.uint8), "at least one pixel", id="no rows"),
        pytest.param(np.zeros(7, np.uint8), r"found \[7\]", id="vector"),
    ],
)
def test_other_arrays_are_refused(array: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_image(array)


def test_a_pil_image_without_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="at least one pixel"):
        read_image(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("source", [None, 3, ["a.png"]], ids=["None", "int", "list"])
def test_other_types_are_refused(source: object) -> None:
    with pytest.raises(InputError, match=f"found {type(source).__name__}"):
        read_image(source)  # type: ignore[arg-type]


def _bomb() -> bytes:
    """A small PNG that claims 60000 x 60000 pixels."""
    whole = encoded(Image.new("RGB", (1, 1)))
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(lambda whole: b"", r"nothing \(0 bytes\)", id="empty"),
        pytest.param(lambda whole: b"hello", "no known image format", id="text"),
        pytest.param(lambda whole: whole[: len(whole) // 2], "damaged", id="truncated"),
        pytest.param(lambda whole: whole[:99] + b"\0" * 300 + whole[399:], "damaged", id="zeros"),
        pytest.param(lambda whole: _bomb(), "reasonable size", id="decompression bomb"),
    ],
)
def test_a_bad_file_is_named(
    content: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    whole = encoded(Image.fromarray(rng.integers(0, 255, (50, 50, 3), np.uint8)))
    path = tmp_path / "street.png"
    path.write_bytes(content(whole))
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: expected")
    assert "\n" not in str(caught.value)


def test_pillows_own_warning_of_large_images_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert read_image(encoded(Image.new("RGB", (20, 20)))).shape == (20, 20, 3)
    with pytest.raises(InputError, match=r"raise max_pixels and PIL\.Image\.MAX_IMAGE_PIXELS"):
        read_image(encoded(Image.new("RGB", (30, 30))), max_pixels=None)


@pytest.mark.parametrize("kind", ["array", "grey", "PIL", "bytes", "path", "file"])
def test_an_image_of_more_pixels_than_allowed_is_refused(kind: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20))
    (tmp_path / "a.png").write_bytes(encoded(image))
    source = {
        "array": np.asarray(image),
        "grey": np.asarray(image)[..., 0],
        "PIL": image,
        "bytes": encoded(image),
        "path": tmp_path / "a.png",
        "file": io.BytesIO(encoded(image)),
    }[kind]
    with pytest.raises(InputError, match="expected at most 599 pixels, found 30x20"):
        read_image(source, max_pixels=599)
    if kind != "file":
        assert read_image(source, max_pixels=600).shape == (20, 30, 3)


class Socket(io.RawIOBase):
    """A stream that can be read and not sought."""

    def __init__(self, content: bytes) -> None:
        self.rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        return self.rest.read()


class Upload:
    """What some web frameworks hand over: its `read` must be awaited."""

    async def read(self) -> bytes:
        return b""


class Silent:
    """A stream in non-blocking mode that has nothing yet."""

    def read(self) -> None:
        return None


def test_file_objects_are_read_from_where_they_stand(pixels: NDArray[np.uint8]) -> None:
    content = encoded(Image.fromarray(pixels))
    stream = io.BytesIO(b"before" + content)
    stream.seek(6)
    np.testing.assert_array_equal(read_image(stream), pixels)
    assert not stream.closed
    np.testing.assert_array_equal(read_image(Socket(content)), pixels)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        pytest.param(io.StringIO("text"), "open it in mode 'rb'", id="text"),
        pytest.param(io.BytesIO(b""), r"nothing \(0 bytes\)", id="empty"),
        pytest.param(Upload(), "await read", id="coroutine"),
        pytest.param(Silent(), "expected bytes, found NoneType", id="nothing yet"),
    ],
)
def test_other_streams_are_refused(stream: IO[bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_image(stream)


def test_an_image_opened_as_text_is_refused(pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))
    with path.open(encoding="utf-8") as stream, pytest.raises(InputError, match="mode 'rb'"):
        read_image(stream)  # type: ignore[arg-type]


def test_a_closed_stream_is_refused() -> None:
    stream = io.BytesIO(b"")
    stream.close()
    with pytest.raises(InputError, match="closed file"):
        read_image(stream)


def test_every_kind_of_buffer_is_read(pixels: NDArray[np.uint8]) -> None:
    content = encoded(Image.fromarray(pixels))
    for buffer in (bytearray(content), memoryview(content)):
        np.testing.assert_array_equal(read_image(buffer), pixels)
    with pytest.raises(InputError, match="contiguous"):
        read_image(memoryview(content)[::2])


def test_an_array_that_needs_no_change_is_passed_through(pixels: NDArray[np.uint8]) -> None:
    pixels.flags.writeable = False
    assert np.shares_memory(read_image(pixels), pixels)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    assert read_image(stream.getvalue())[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("GIF", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})],
    ids=["GIF", "TIFF", "WebP", "PNG"],
)
def test_more_frames_than_the_first_are_noticed(
    kind: str, options: dict[str, object], tmp_path: Path
) -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    single, several = tmp_path / "single", tmp_path / "several"
    frames[0].save(single, kind, **options)
    frames[0].save(several, kind, save_all=True, append_images=frames[1:], **options)
    assert not has_more_frames(single)
    assert has_more_frames(several)
    assert read_image(several)[0, 0].tolist() == [255, 0, 0]


def test_a_cameras_preview_and_a_damaged_file_are_no_more_frames(tmp_path: Path) -> None:
    stereo = tmp_path / "stereo.mpo"
    Image.new("RGB", (6, 4)).save(
        stereo, "MPO", save_all=True, append_images=[Image.new("RGB", (6, 4))]
    )
    assert read_image(stereo).shape == (4, 6, 3)
    assert not has_more_frames(stereo)
    stereo.write_bytes(b"GIF89a")
    assert not has_more_frames(stereo)


def test_every_format_has_suffixes_that_a_folder_yields() -> None:
    found = readable_suffixes()
    for suffix in (".jpg", ".jfif", ".jpe", ".mpo", ".apng", ".pgm", ".pnm", ".tiff", ".webp"):
        assert suffix in found
    assert (".avif" in found) == features.check("avif")
    assert found <= SUFFIXES
    assert ".heic" in SUFFIXES


def test_no_stranger_starts_ghostscript(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", lambda *command, **options: started.append(command))
    stream = io.BytesIO()
    Image.new("RGB", (6, 4)).save(stream, "EPS")
    with pytest.raises(InputError, match="no known image format"):
        read_image(stream.getvalue())
    assert started == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("missing.png", "No such file", id="missing"),
        pytest.param(".", "found a folder", id="folder"),
        pytest.param("x" * 5000, "too long", id="overlong name"),
        pytest.param("nul\0byte.png", "nul", id="null byte"),
    ],
)
def test_a_path_without_an_image_is_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / name)


@given(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"RIFF....WEBPVP8 ",
            b"",
        ]
    ),
)
@settings(max_examples=300, deadline=None)
def test_hostile_bytes_raise_nothing_but_input_errors(tail: bytes, magic: bytes) -> None:
    with contextlib.suppress(InputError):
        found = read_image(magic + tail)
        assert found.dtype == np.uint8
        assert found.shape[2] == 3


def test_a_folder_gives_its_images_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.pgm", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_images(tmp_path)] == [*("a.JPG", "b.png", "c.pgm")]
    assert find_images(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_a_folder_without_images_and_a_missing_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        find_images(tmp_path)
    with pytest.raises(InputError, match="found nothing"):
        find_images(tmp_path / "missing")


@pytest.mark.parametrize("where", ["PIL.Image.open", "PIL.ImageFile.ImageFile.load"])
def test_too_little_memory_is_no_damaged_image(
    pixels: NDArray[np.uint8],
    segmenter: Segmenter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))

    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(where, fail)
    with pytest.raises(DeviceError, match=r"^\S+large.png: expected memory to read it, found too"):
        read_image(path)
    with pytest.raises(DeviceError, match=r"^image: expected memory to read it"):
        read_image(path.read_bytes())
    (outcome,) = segmenter.predict([path.read_bytes()], on_error="return")
    assert isinstance(outcome, DeviceError)
    assert str(outcome).startswith("image 0: expected memory to read it")


def test_a_stream_that_memory_cannot_hold_is_no_damaged_one() -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise MemoryError

    with pytest.raises(DeviceError, match=r"^image: expected memory to read it"):
        read_image(Endless())
