"""Opening image files from unknown sources, in bounded time and memory and without warnings.

Pillow is thorough about the pixels that a file claims, and less so about the rest: some headers
cost it time that grows with the square of their length, and some small files decode for minutes.
What a file may ask for is limited here, before and while Pillow reads it. Pillow also warns of odd
metadata, which the caller of a service cannot mend: `suppress_warnings` hides that.
"""

from __future__ import annotations

import functools
import importlib
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast

from .content import HEAD, describe
from .errors import InputError
from .image_damage import check_jpeg, check_png

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile


# What cameras, browsers and datasets write. Pillow knows 35 more, among them EPS, for which it
# starts Ghostscript: nothing that untrusted bytes should choose.
PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "AVIF": "AvifImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "PPM": "PpmImagePlugin",
}
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "HEIF": (".heic", ".heif", ".hif"),
}
"""The suffixes of each format; a file that is named is read by its content alone."""
MAX_HEADER_READS = 100_000
"""Most reads before the pixels: some ten of a camera's file, three for each piece of metadata."""
MAX_SCANS = 100
"""Most scans of a JPEG; each costs a pass over all pixels, however few bytes it has.

Encoders write at most a dozen; libtiff draws the same line.
"""
MAX_SPARE_TILE = 1 << 22
"""Pixels of a TIFF's tile that may lie beyond its image; it is decoded as a whole."""
_SCAN = re.compile(b"\xff\xda")  # three times as fast as bytes.count
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_thread = threading.local()


class GuardedFile:
    """The file object that Pillow reads an image from.

    While it reads pixels, the end of the file is an error rather than nothing. It has no file
    descriptor: libtiff would map the file into memory, and crash if another process truncates it.

    Attributes:
        is_unfinished: whether a decoder of the image still waits for data.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        """Wrap a stream that can seek."""
        self._stream = stream
        self._header_reads = 0
        self._scans = 0
        self._is_header = True
        self._is_jpeg = False
        self.is_unfinished = False
        self.seek = stream.seek
        self.tell = stream.tell

    def read_pixels(self, *, is_jpeg: bool) -> None:
        """From now on the pixels are read."""
        self._is_header = False
        self._is_jpeg = is_jpeg

    def content(self) -> bytes:
        """The whole file, whatever was read of it."""
        self._stream.seek(0)
        return self._stream.read()

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all there are.

        Raises:
            InputError: the file asks for too much or ends before its pixels do.
        """
        data = self._stream.read(size)
        if self._is_header:
            self._header_reads += 1
            if self._header_reads > MAX_HEADER_READS:
                raise InputError("expected an image, found far too much metadata; save it anew")
            return data
        if not data and size != 0:
            raise InputError(
                "expected an image, found a damaged one that ends early; get the file anew"
            )
        if self._is_jpeg:
            self._scans += len(_SCAN.findall(data))
            if self._scans > MAX_SCANS:
                raise InputError(
                    f"expected a JPEG of at most {MAX_SCANS} scans, found more; save it anew"
                )
        return data


class _StrictDecoder:
    """One of Pillow's decoders, whose errors count whatever the process told Pillow.

    `PIL.ImageFile.LOAD_TRUNCATED_IMAGES` makes Pillow take what a decoder failed at for an image,
    half grey. It is one for all threads, so it is neither read nor changed here. Pillow makes
    an object of this class for each tile that `_use_strict_decoders` named it in.
    """

    NAME = "pedseg_strict"

    def __init__(self, mode: str, name: str, file: GuardedFile, *arguments: Any) -> None:
        from PIL import Image

        self._decoder: Any = Image._getdecoder(mode, name, arguments)
        self._file = file
        self.pulls_fd = self._decoder.pulls_fd
        self.setimage = self._decoder.setimage
        self.setfd = self._decoder.setfd
        self.cleanup = self._decoder.cleanup
        file.is_unfinished = True

    def decode(self, data: bytes) -> tuple[int, int]:
        """As Pillow's `decode`: the number of bytes it is done with, negative at the end."""
        consumed, error = self._decoder.decode(data)
        if error < 0:
            raise InputError("expected an image, found a damaged one; get the file anew")
        self._file.is_unfinished = consumed >= 0
        return consumed, error


def open_image(stream: IO[bytes]) -> ImageFile:
    """Open an image file with Pillow, without decoding it; `load_pixels` does that.

    Args:
        stream: a file that can seek, at its start.

    Raises:
        InputError: it is of no known format or asks for too much.
        Exception: any error of Pillow's parsers on a damaged header.
    """
    from PIL import Image, UnidentifiedImageError

    guarded = GuardedFile(stream)
    try:
        with suppress_warnings():
            image = Image.open(cast("IO[bytes]", guarded), formats=known_formats())
    except UnidentifiedImageError as error:
        stream.seek(0)
        found = describe(stream.read(HEAD), ", ".join(known_formats()))
        raise InputError(f"expected an image, found {found}") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"expected an image of reasonable size, found {error}; if you trust it, "
            "raise max_pixels and PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    _check_encoding(image)
    _use_strict_decoders(image, guarded)
    guarded.read_pixels(is_jpeg=image.format in ("JPEG", "MPO"))
    return image


def load_pixels(image: Image.Image) -> None:
    """Decode an image in place; one from `open_image` must be all there.

    Raises:
        InputError: a part of it is missing.
        Exception: any error of Pillow's decoders on damaged data.
    """
    guarded = getattr(image, "fp", None)
    container = getattr(image, "_heif_file", None)
    if container is not None:  # pillow-heif makes a black image of errors, if the process wants it
        _ = container[image.tell()].data
    image.load()
    if not isinstance(guarded, GuardedFile):
        return
    if guarded.is_unfinished:
        raise InputError("expected an image, found one that ends early; get the file anew")
    if image.format in ("JPEG", "MPO"):
        check_jpeg(cast("ImageFile", image), guarded.content())
    elif image.format == "PNG":
        check_png(cast("ImageFile", image), guarded.content())


@functools.cache
def known_formats() -> tuple[str, ...]:
    """The formats that can be read here; the plugins of others are not imported."""
    from PIL import Image

    for module in PLUGINS.values():
        with suppress(ImportError):  # AVIF came with Pillow 11.3
            importlib.import_module(f"PIL.{module}")
    with suppress(ImportError):  # the extra "heic"
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.register_decoder(_StrictDecoder.NAME, cast("Any", _StrictDecoder))
    return tuple(name for name in SUFFIXES if name in Image.OPEN)


def _use_strict_decoders(image: ImageFile, file: GuardedFile) -> None:
    """Put a `_StrictDecoder` around each of the image's decoders.

    libtiff's is called elsewhere in Pillow, where errors always count.
    """
    for index, tile in enumerate(image.tile):
        name, extents, offset, arguments = tile
        if name != "libtiff":
            given = arguments if isinstance(arguments, tuple) else (arguments,)
            given = () if arguments is None else given
            make: Any = type(tile) if hasattr(tile, "_fields") else lambda *values: values
            image.tile[index] = make(_StrictDecoder.NAME, extents, offset, (name, file, *given))


def _check_encoding(image: ImageFile) -> None:
    """Refuse what is slow or large beyond the number of the image's pixels."""
    from PIL import Image

    if any(tile[0] in Image.DECODERS for tile in image.tile):  # written in Python: 2 MB a second
        raise InputError(
            f"expected binary pixels, found a {image.format} file of a rare, slow encoding (text, "
            "run lengths, or another maximum than 255); save it as PNG"
        )
    tags = getattr(image, "tag_v2", {})
    tile = int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))
    if tile > image.width * image.height + MAX_SPARE_TILE:
        raise InputError(
            f"expected tiles no larger than the image, found tiles of {tile} pixels; save it anew"
        )


class _SuppressingThread(type):
    """Makes every category of warnings a subclass while the asking thread suppresses them."""

    def __subclasscheck__(cls, category: type) -> bool:
        return getattr(_thread, "is_suppressing", False)


class _Suppressed(Warning, metaclass=_SuppressingThread):
    """The category that the filter ignores."""


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Ignore all warnings of this thread, and of no other; it does not nest.

    `warnings.catch_warnings` swaps the filters of the whole process: of two threads inside it, one
    may leave the other's filters in force for good. Besides, each use makes Python show once more,
    elsewhere, what it shows once per place. Here one filter stands for good, and ignores warnings
    of a thread that is inside.
    """
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[2] is not _Suppressed:  # at first, or when others changed the filters
        warnings.simplefilter("ignore", _Suppressed)
    _thread.is_suppressing = True
    try:
        yield
    finally:
        _thread.is_suppressing = False
