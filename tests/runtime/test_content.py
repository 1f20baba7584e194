"""What is no image is called what it is, in a line."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from pedseg_runtime import InputError, read_image
from pedseg_runtime.content import HEAD, describe, describe_text, is_base64_image
from pedseg_runtime.image_decoding import known_formats

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def encoded(kind: str, size: tuple[int, int] = (64, 48)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"nothing \(0 bytes\)", id="empty"),
        pytest.param(bytes(1000), "zeros where an image begins", id="zeros"),
        pytest.param(b"<html>404</html>", "an HTML page", id="HTML"),
        pytest.param(b"  <!DOCTYPE html><title>", "an HTML page", id="doctype"),
        pytest.param(b'<?xml version="1.0"?><svg/>', "XML or SVG", id="SVG"),
        pytest.param(b'{"detail": "not found"}', "JSON text", id="JSON"),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS", id="LFS"
        ),
        pytest.param(
            b'--x7\r\nContent-Disposition: form-data; name="f"\r\n\r\n\x89PNG',
            "a multipart body",
            id="multipart",
        ),
        pytest.param(b"data:image/png;base64,iVBORw0KGgo=", "a data URL", id="data URL"),
        pytest.param(b"%PDF-1.7", "a PDF", id="PDF"),
        pytest.param(b"PK\x03\x04", "an archive", id="zip"),
        pytest.param(b"\x1aE\xdf\xa3\x01", "a video", id="Matroska"),
        pytest.param(b"\0\0\0\x20ftypisom\0\0\2\0", "a video", id="MP4"),
        pytest.param((b"G" + bytes(187)) * 3, "a video", id="MPEG-TS"),
        pytest.param(b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image", id="JPEG XL"),
        pytest.param(b"II*\0\x08\0\0\0\0\0", "a damaged TIFF file, or one of a kind", id="TIFF"),
        pytest.param(b"hello", "data of no known image format", id="text"),
    ],
)
def test_what_is_no_image_is_named(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"^image bytes: expected an image, found {message}") as e:
        read_image(content)
    assert len(str(e.value)) < 200
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_base64_is_named_and_not_repeated(kind: str) -> None:
    """As text, as bytes, as a data URL, wrapped to lines and in the alphabet for URLs."""
    whole = encoded(kind, (320, 240))
    for text in (
        base64.b64encode(whole).decode(),
        base64.encodebytes(whole).decode(),
        base64.urlsafe_b64encode(whole).decode(),
    ):
        for source in (text, text.encode()):
            with pytest.raises(InputError, match="found base64 text") as caught:
                read_image(source)
            assert len(str(caught.value)) < 200
    with pytest.raises(InputError, match="found a data URL") as caught:
        read_image("data:image/png;base64," + base64.b64encode(whole).decode())
    assert len(str(caught.value)) < 200


def test_a_url_is_no_path() -> None:
    with pytest.raises(InputError, match="found a URL; download it"):
        read_image("https://example.org/street.jpg")


@pytest.mark.parametrize("name", ["street.jpg", "./iVBORw0KGgo", "C:/photos/a.png", "a" * 200])
def test_a_path_is_taken_for_one(name: str) -> None:
    assert describe_text(name) is None


def test_words_are_not_base64() -> None:
    assert not is_base64_image(b"the quick brown fox jumps over the lazy dog")


@pytest.mark.skipif("HEIF" in known_formats(), reason="pillow-heif reads it")
@pytest.mark.parametrize("suffix", [".heic", ".jpg"])
def test_heic_names_what_reads_it_whatever_its_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"phone{suffix}"
    path.write_bytes(HEIC)
    with pytest.raises(InputError, match=r"found a HEIC image; pip install 'pedseg\[heic\]'"):
        read_image(path)


def test_formats_that_are_missing_and_damaged_ones_differ() -> None:
    assert "pip install 'pedseg[heic]'" in describe(HEIC, "JPEG, PNG")
    assert "damaged HEIF" in describe(HEIC, "JPEG, HEIF")
    avif = b"\0\0\0\x20ftypavif" + bytes(20)
    assert "takes Pillow 11.3" in describe(avif, "JPEG, PNG")
    assert "damaged AVIF" in describe(avif, "JPEG, AVIF")


def test_heic_is_read_with_the_extra() -> None:
    pytest.importorskip("pillow_heif")
    y, x = np.mgrid[:48, :64]
    smooth = np.stack([x * 4, y * 5, x + y], -1).astype(np.uint8)
    stream = io.BytesIO()
    assert "HEIF" in known_formats()
    Image.fromarray(smooth).save(stream, "HEIF", quality=95)
    assert np.abs(read_image(stream.getvalue()).astype(int) - smooth).mean() < 3
    with pytest.raises(InputError, match="damaged"):
        read_image(stream.getvalue()[: len(stream.getvalue()) * 2 // 3])


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_a_cut_avif_is_called_damaged() -> None:
    whole = encoded("AVIF")
    with pytest.raises(InputError, match="damaged AVIF"):
        read_image(whole[: len(whole) * 6 // 10])


def test_an_error_quotes_a_line_at_most(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_image("x" * 100_000)
    assert len(str(caught.value)) < 600
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / "new\nline.png")
    assert "\n" not in str(caught.value)
    assert "new\\nline.png" in str(caught.value)


def test_the_head_is_long_enough_for_its_patterns() -> None:
    assert HEAD >= 3 * 188
