"""Parts of an image that are missing although its decoder was content.

libjpeg paints what it finds no data for in mid grey, zlib's end leaves the rest of a PNG black, and
Pillow passes on neither's complaint. So an image that ends in such a colour is looked at again. A
hole that was filled with other bytes of the same number cannot be told from an ugly image.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .errors import InputError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_START_OF_SCAN, _RESTART_INTERVAL, _END = 0xDA, 0xDD, 0xD9
_FRAMES = (0xC0, 0xC1, 0xC2)
_FILLER = bytes(range(1, 129))  # decodes to something, whatever the Huffman tables
_GREY = (127, 128)  # what no data decodes to; inverted for CMYK

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by a PNG's colour type
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_CHUNK = 1 << 20


def check_jpeg(image: ImageFile, content: bytes) -> None:
    """Refuse a decoded JPEG whose file has no data for a part of it.

    An image that is all there does not depend on what follows its data: decoded again with some
    more of it, it must be the same.

    Raises:
        InputError: a part is missing.
    """
    scans = list(_scans(content, image.size))
    for scan in scans:
        numbers = [found[0] & 7 for found in _RESTART.findall(content[scan.start : scan.end])]
        if numbers[: scan.restarts] != [index & 7 for index in range(scan.restarts)]:
            raise _incomplete("JPEG")
    last = image.getpixel((image.width - 1, image.height - 1))
    values = last if isinstance(last, tuple) else (last,)
    if not scans or any(value not in _GREY for value in values):
        return
    from PIL import Image, ImageChops

    end = scans[-1].end
    longer = io.BytesIO(content[:end] + _FILLER + content[end:])
    with Image.open(longer, formats=["JPEG"]) as other:
        if other.mode != image.mode or ImageChops.difference(image, other).getbbox() is not None:
            raise _incomplete("JPEG")


def check_png(image: ImageFile, content: bytes) -> None:
    """Refuse a decoded PNG whose compressed data ends before its pixels do.

    Damaged metadata is refused too, which Pillow takes where the process told it to.

    Raises:
        InputError: a part is missing or damaged.
    """
    for kind, body, checksum in _chunks(content):
        if kind == b"IDAT":
            break
        if zlib.crc32(body, zlib.crc32(kind)) != checksum:
            raise InputError("expected a whole image, found damaged metadata; get the file anew")
    width, height, bits, color, _, _, is_interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    last_row = image.crop((0, height - 1, width, height))
    if not is_interlaced and any(last_row.tobytes()):
        return
    bits *= _CHANNELS[color]
    passes = _PASSES if is_interlaced else ((0, 0, 1, 1),)
    expected = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + -(-columns * bits // 8))
    if _inflated(content, expected) < expected:
        raise _incomplete("PNG")


def _incomplete(kind: str) -> InputError:
    return InputError(
        f"expected a whole image, found a {kind} with no data for a part of it; get the file anew"
    )


class _Scan(NamedTuple):
    """Where the data of a scan starts and ends, and how many restart markers it must have."""

    start: int
    end: int
    restarts: int


def _scans(content: bytes, size: tuple[int, int]) -> Iterator[_Scan]:
    """The scans of a file's first JPEG, whose size is (width, height)."""
    position, interval = 2, 0
    sampling: dict[int, tuple[int, int]] = {}
    while position + 4 <= len(content):
        kind = content[position + 1]
        if content[position] != 0xFF or kind == _END:
            return
        if kind == 0xFF:  # fill bytes may stand before a marker
            position += 1
            continue
        start = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        body, position = content[position + 4 : start], start
        if kind == _RESTART_INTERVAL:
            interval = int.from_bytes(body[:2], "big")
        elif kind in _FRAMES:
            parts = (body[index : index + 3] for index in range(6, 6 + 3 * body[5], 3))
            sampling = {part[0]: divmod(part[1], 16) for part in parts}
        elif kind == _START_OF_SCAN:
            found = _MARKER.search(content, start)
            if found is None:
                return
            position = found.start()
            shares = [sampling[body[1 + 2 * index]] for index in range(body[0])]
            units = _units(size, shares, list(sampling.values()))
            yield _Scan(start, position, -(-units // interval) - 1 if interval else 0)


def _units(
    size: tuple[int, int], shares: list[tuple[int, int]], sampling: list[tuple[int, int]]
) -> int:
    """How many coded units a scan of components with these sampling factors has."""
    count = 1
    for axis, length in enumerate(size):
        most = max(factors[axis] for factors in sampling)
        if len(shares) == 1:  # of a component alone, its blocks that lie in the image
            samples = -(-length * shares[0][axis] // most)
            count *= -(-samples // 8)
        else:
            count *= -(-length // (8 * most))
    return count


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Kind, body and checksum of each chunk of a PNG."""
    position = 8
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        body = content[position + 8 : position + 8 + length]
        position += 12 + length
        yield kind, body, int.from_bytes(content[position - 4 : position], "big")


def _inflated(content: bytes, enough: int) -> int:
    """How many bytes the image data of a PNG inflates to, counted no further than `enough`."""
    inflater = zlib.decompressobj()
    count = 0
    for kind, body, _ in _chunks(content):
        data = body if kind == b"IDAT" else b""
        while data and count < enough and not inflater.eof:
            count += len(inflater.decompress(data, _CHUNK))
            data = inflater.unconsumed_tail
        if count >= enough or inflater.eof:
            return count
    return count + len(inflater.flush())
