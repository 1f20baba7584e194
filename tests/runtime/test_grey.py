"""Grey of more than 8 bits, against TIFF files written by hand."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pedseg_runtime import InputError, read_image

HEIGHT, WIDTH = 6, 64
RAMP = np.linspace(0, 1, WIDTH)[None].repeat(HEIGHT, 0)
EIGHT = np.rint(RAMP * 255).astype(np.uint8)


def tiff(
    data: bytes, *, bits: int, white_is_zero: bool = False, sample: int = 1, endian: str = "<",
    deflate: bool = False,
) -> bytes:  # fmt: skip
    """A TIFF of one grey strip: `sample` is 1 unsigned, 2 signed, 3 floats."""
    data = zlib.compress(data) if deflate else data
    values = [(256, WIDTH), (257, HEIGHT), (258, bits), (259, 8 if deflate else 1)]
    values += [(262, 0 if white_is_zero else 1), (273, 8), (277, 1), (278, HEIGHT)]
    values += [(279, len(data)), (339, sample)]
    directory = struct.pack(endian + "H", len(values)) + b"".join(
        struct.pack(endian + "HHII", tag, 4, 1, value)
        if endian == "<" or tag in (273, 279)
        else struct.pack(endian + "HHIHH", tag, 3, 1, value, 0)
        for tag, value in values
    )
    magic = b"II*\0" if endian == "<" else b"MM\0*"
    data += bytes(len(data) % 2)
    return magic + struct.pack(endian + "I", 8 + len(data)) + data + directory + bytes(4)


def twelve_bit(values: NDArray[np.uint16]) -> bytes:
    """Two samples in three bytes."""
    first, second = values[:, 0::2], values[:, 1::2]
    packed = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    return np.stack(packed, -1).astype(np.uint8).tobytes()


def check(content: bytes) -> None:
    found = read_image(content)
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found.astype(int) - EIGHT[..., None]).max() <= 1
    assert found.min() == 0
    assert found.max() == 255


@pytest.mark.parametrize("deflate", [False, True], ids=["raw", "deflate"])
def test_twelve_bits_reach_white(deflate: bool) -> None:
    values = np.rint(RAMP * 4095).astype(np.uint16)
    check(tiff(twelve_bit(values), bits=12, deflate=deflate))


@pytest.mark.parametrize("deflate", [False, True], ids=["raw", "deflate"])
@pytest.mark.parametrize("white_is_zero", [False, True], ids=["black is zero", "white is zero"])
def test_sixteen_bits_go_the_way_they_say(white_is_zero: bool, deflate: bool) -> None:
    values = np.rint(RAMP * 65535).astype("<u2")
    values = 65535 - values if white_is_zero else values
    data = values.astype("<u2").tobytes()
    check(tiff(data, bits=16, white_is_zero=white_is_zero, deflate=deflate))


@pytest.mark.parametrize("white_is_zero", [False, True], ids=["black is zero", "white is zero"])
def test_eight_bits_go_the_way_they_say(white_is_zero: bool) -> None:
    values = 255 - EIGHT if white_is_zero else EIGHT
    check(tiff(values.tobytes(), bits=8, white_is_zero=white_is_zero))


def test_without_a_word_white_is_zero_as_other_readers_have_it() -> None:
    values = 65535 - np.rint(RAMP * 65535).astype(np.uint16)
    content = tiff(values.astype("<u2").tobytes(), bits=16)
    entry = struct.pack("<HHII", 262, 4, 1, 1)
    assert entry in content
    check(content.replace(entry, struct.pack("<HHII", 65000, 4, 1, 1)))


def test_the_other_byte_order_reads_the_same() -> None:
    data = np.rint(RAMP * 65535).astype(">u2").tobytes()
    check(tiff(data, bits=16, endian=">"))


@pytest.mark.parametrize(
    ("dtype", "bits", "sample", "found"),
    [
        pytest.param("<i2", 16, 2, "signed integers", id="int16"),
        pytest.param("<i4", 32, 2, "signed integers", id="int32"),
        pytest.param("<u4", 32, 1, "32-bit integers", id="uint32"),
        pytest.param("<f4", 32, 3, "floats", id="float"),
    ],
)
def test_values_without_a_white_level_are_refused(
    dtype: str, bits: int, sample: int, found: str
) -> None:
    """0..255 in 32 bits was black once, as if 65535 were white."""
    data = EIGHT.astype(dtype).tobytes()
    with pytest.raises(InputError, match=f"found {found}; scale to 8 bit"):
        read_image(tiff(data, bits=bits, sample=sample))


def test_a_pil_image_of_a_tiff_reads_as_its_file_does() -> None:
    import io

    values = np.rint(RAMP * 4095).astype(np.uint16)
    content = tiff(twelve_bit(values), bits=12)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(read_image(image), read_image(content))
