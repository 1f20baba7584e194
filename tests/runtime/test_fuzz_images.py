"""Hostile bytes: an `InputError` or an image, whatever they are.

PEDSEG_FUZZ=20000 python -m pytest tests/runtime/test_fuzz_images.py -s
"""

from __future__ import annotations

import collections
import faulthandler
import io
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image

from pedseg_runtime import InputError, Segmenter, read_image
from pedseg_runtime.image_decoding import known_formats

CASES = int(os.environ.get("PEDSEG_FUZZ", "500"))
MAX_PIXELS = 1 << 20
SECONDS_PER_CASE = 20  # a hang, not a slow machine


def seeds() -> list[bytes]:
    """Small images in every format that is read."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (37, 53, 3), np.uint8)
    smooth = Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    grey16 = Image.fromarray(rng.integers(0, 65536, (20, 30), np.uint16))
    saved: list[tuple[Image.Image, dict[str, object]]] = [
        (smooth, {"format": "PNG"}),
        (smooth.convert("P"), {"format": "PNG", "transparency": 3}),
        (smooth.convert("LA"), {"format": "PNG"}),
        (grey16, {"format": "PNG"}),
        (smooth, {"format": "JPEG", "exif": exif}),
        (smooth, {"format": "JPEG", "progressive": True}),
        (smooth.convert("CMYK"), {"format": "JPEG"}),
        (smooth, {"format": "WEBP"}),
        (smooth, {"format": "WEBP", "lossless": True, "exif": exif}),
        (smooth.convert("P"), {"format": "GIF"}),
        (smooth, {"format": "TIFF", "compression": "tiff_lzw"}),
        (smooth, {"format": "TIFF", "compression": "tiff_deflate"}),
        (grey16, {"format": "TIFF"}),
        (smooth, {"format": "TIFF", "save_all": True, "append_images": [smooth]}),
        (smooth.convert("P"), {"format": "GIF", "save_all": True, "append_images": [smooth]}),
        (smooth, {"format": "JPEG", "restart_marker_blocks": 3}),
        (smooth, {"format": "BMP"}),
        (smooth, {"format": "PPM"}),
    ]
    contents = []
    for image, options in saved:
        stream = io.BytesIO()
        image.save(stream, **options)  # type: ignore[arg-type]
        contents.append(stream.getvalue())
    if "HEIF" in known_formats():
        stream = io.BytesIO()
        smooth.save(stream, "HEIF")
        contents.append(stream.getvalue())
    return [*contents, tiff_of_twelve_bits()]


def tiff_of_twelve_bits() -> bytes:
    """Grey that Pillow does not write: two samples in three bytes."""
    data = np.random.default_rng(0).integers(0, 256, 30 * 20 * 3 // 2, np.uint8).tobytes()
    values = [(256, 30), (257, 20), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 20)]
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*values, (279, len(data))]
    )
    start = struct.pack("<I", 8 + len(data))
    return b"II*\0" + start + data + struct.pack("<H", 9) + entries + bytes(4)


def flipped(data: bytearray, rng: Generator, _other: bytes) -> None:
    for position in rng.integers(0, len(data), rng.integers(1, 9)):
        data[position] ^= 1 << int(rng.integers(8))


def header_changed(data: bytearray, rng: Generator, _other: bytes) -> None:
    for position in rng.integers(0, min(64, len(data)), rng.integers(1, 5)):
        data[position] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))


def cut(data: bytearray, rng: Generator, _other: bytes) -> None:
    del data[int(rng.integers(0, len(data))) :]


def repeated(data: bytearray, rng: Generator, _other: bytes) -> None:
    start, end = sorted(rng.integers(0, len(data), 2).tolist())
    data[end:end] = data[start:end] * int(rng.integers(1, 4))


def spliced(data: bytearray, rng: Generator, other: bytes) -> None:
    at = int(rng.integers(0, min(len(data), len(other))))
    data[at:] = other[at:]


def replaced_by_noise(data: bytearray, rng: Generator, _other: bytes) -> None:
    keep = int(rng.choice([0, 4, 16, 40]))
    data[keep:] = rng.integers(0, 256, rng.integers(0, 3000), np.uint8).tobytes()


MUTATIONS: list[Callable[[bytearray, Generator, bytes], None]] = [
    *(flipped, header_changed, cut),
    *(repeated, spliced, replaced_by_noise),
]


def mutants(count: int) -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    originals = seeds()
    for _ in range(count):
        first, second = rng.integers(0, len(originals), 2)
        data = bytearray(originals[first])
        for _ in range(rng.integers(1, 4)):
            if data:
                MUTATIONS[rng.integers(0, len(MUTATIONS))](data, rng, originals[second])
        yield bytes(data)


def resident_pages() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[1]) if statm.exists() else 0


def test_the_seeds_are_images() -> None:
    for content in seeds():
        assert read_image(content).ndim == 3


def test_mutated_images_are_an_error_or_an_image(
    tiny_path: Path, tmp_path: Path, cpu_device: str
) -> None:
    outcomes: collections.Counter[str] = collections.Counter()
    slowest, middle = 0.0, 0
    started = time.monotonic()
    with Segmenter.load(tiny_path, device=cpu_device, max_pixels=MAX_PIXELS) as segmenter:
        for index, data in enumerate(mutants(CASES)):
            faulthandler.dump_traceback_later(SECONDS_PER_CASE, exit=True)
            before = time.monotonic()
            outcomes[outcome(data, index, segmenter, tmp_path)] += 1
            slowest = max(slowest, time.monotonic() - before)
            if index == CASES // 2:
                middle = resident_pages()
    faulthandler.cancel_dump_traceback_later()
    growth = resident_pages() / max(middle, 1) - 1
    print(
        f"{CASES} cases in {time.monotonic() - started:.1f} s, slowest {slowest:.3f} s, "
        f"memory {growth:+.1%} over the second half: {dict(outcomes)}"
    )
    assert set(outcomes) == {"image", "InputError"}
    assert outcomes["image"] > CASES / 20
    assert outcomes["InputError"] > CASES / 5
    assert growth < 0.1


def outcome(data: bytes, index: int, segmenter: Segmenter, folder: Path) -> str:
    """What becomes of `data` as bytes, as a file, or in front of the model."""
    try:
        if index % 10 == 0:
            detections = segmenter(data)
            assert max(detections.image_size) <= MAX_PIXELS
            return "image"
        source: bytes | Path | io.BytesIO = data
        if index % 10 == 1:
            source = folder / "image"
            source.write_bytes(data)
        elif index % 10 == 2:
            source = io.BytesIO(data)
        pixels = read_image(source, max_pixels=MAX_PIXELS)
    except InputError as error:
        message = str(error)
        return "InputError" if "expected" in message and "\n" not in message else message
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    return "image"


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 5000, b"GIF89a", b"%PDF-1.7"], ids=repr)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        read_image(content)
