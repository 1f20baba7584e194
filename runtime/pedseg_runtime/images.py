"""Reading images from wherever a user has them: uint8 [H, W, 3] RGB comes out, or an InputError."""

from __future__ import annotations

import inspect
import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .content import describe_text
from .errors import DeviceError, InputError
from .image_decoding import SUFFIXES as SUFFIXES_BY_FORMAT
from .image_decoding import known_formats, load_pixels, open_image, suppress_warnings
from .text import quote

if TYPE_CHECKING:
    from PIL import Image

Source: TypeAlias = (
    "NDArray[np.uint8] | Image.Image | str | os.PathLike[str] | bytes | bytearray | memoryview"
    " | IO[bytes]"
)

SUFFIXES = frozenset(suffix for group in SUFFIXES_BY_FORMAT.values() for suffix in group)
"""The suffixes of images; `readable_suffixes` are those of formats that can be read here."""
DEFAULT_MAX_PIXELS = 89_478_485
"""Width times height of the largest image that is read unless the caller says otherwise.

Pillow warns of decompression bombs from here on: 256 MiB of RGB.
"""

_EXIF_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 2


def read_image(source: Source, *, max_pixels: int | None = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Read one image.

    Args:
        source: uint8 array [H, W, 3] RGB, [H, W] grey or [H, W, 4] RGBA; a PIL image; the path of
            an image file; the bytes of one; or a binary file object, which is read from where it
            stands and left open. EXIF orientation is applied, grey of 12 and 16 bit is scaled to 8
            bit, alpha is dropped, of several frames or pages the first is taken.
        max_pixels: height times width of the largest image to accept, checked before pixels are
            decoded; None sets no limit. For files Pillow's own limit holds beside it: to read
            more than twice `PIL.Image.MAX_IMAGE_PIXELS`, set that too, once, when the process
            starts.

    Returns:
        uint8 [H, W, 3] RGB, contiguous. An array that already is one is passed through.

    Raises:
        DeviceError: there is too little memory to read it.
        InputError: the source is no usable image; the message names it and says what is wrong.
    """
    try:
        return _read(source, max_pixels)
    except MemoryError as error:
        name = quote(source) if isinstance(source, str | os.PathLike) else "image"
        raise DeviceError(
            f"{name}: expected memory to read it, found too little; read fewer at once, or scale "
            "it down"
        ) from error


def _read(source: Source, max_pixels: int | None) -> NDArray[np.uint8]:
    """What `read_image` does, where memory suffices."""
    if isinstance(source, np.ndarray):
        _check_pixels("image", source.shape[1::-1], max_pixels)
        return _from_array(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(source, "image bytes", max_pixels)
    if isinstance(source, str | os.PathLike):
        found = describe_text(source) if isinstance(source, str) else None
        if found is not None:
            raise InputError(f"image: expected the path of an image, found {found}")
        return _from_path(Path(source), max_pixels)
    from PIL import Image

    if isinstance(source, Image.Image):
        _check_pixels("PIL image", source.size, max_pixels)
        return _from_pil(source, "PIL image")
    if hasattr(source, "read"):
        return _from_stream(source, max_pixels)
    raise InputError(
        "image: expected a uint8 array [H, W, 3], a PIL image, a path, bytes or a binary file, "
        f"found {type(source).__name__}"
    )


def find_images(path: Path) -> list[Path]:
    """The image files that `path` stands for: itself, or those in the folder, sorted by name.

    Raises:
        InputError: nothing is there, or the folder holds no image.
    """
    if not path.exists():
        raise InputError(f"{path}: expected an image or a folder of images, found nothing")
    if not path.is_dir():
        return [path]
    suffixes = readable_suffixes()
    images = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()
    )
    if not images:
        kinds = ", ".join(sorted(suffix[1:] for suffix in suffixes))
        raise InputError(f"{path}: expected images ({kinds}) in the folder, found none")
    return images


def readable_suffixes() -> frozenset[str]:
    """The suffixes, with dot and in lower case, of the image formats that can be read here."""
    return frozenset(suffix for name in known_formats() for suffix in SUFFIXES_BY_FORMAT[name])


def has_more_frames(path: Path) -> bool:
    """Whether an image file holds more frames or pages than the first, which `read_image` takes.

    The second image of a camera's JPEG, its preview, does not count, and no damaged file does.
    """
    try:
        with path.open("rb") as stream:
            image = open_image(stream)
            return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # hostile bytes make Pillow's parsers raise nearly anything
        return False


def _from_array(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Check an array's dtype and layout; grey becomes RGB and alpha is dropped."""
    shape = list(array.shape)
    if array.dtype != np.uint8:
        raise InputError(
            f"image: expected uint8 in 0..255, found {array.dtype}; scale to 0..255, round, and "
            "convert with .astype(np.uint8)"
        )
    if array.ndim == 3 and shape[0] in (1, 3, 4) and shape[2] not in (3, 4):
        raise InputError(
            f"image: expected [H, W, 3], found {shape}, channels first; use .transpose(1, 2, 0)"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (3, 4)):
        raise InputError(f"image: expected one image [H, W, 3], [H, W] or [H, W, 4], found {shape}")
    if 0 in shape:
        raise InputError(f"image: expected at least one pixel, found {shape}")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    return np.ascontiguousarray(array[..., :3])


def _from_path(path: Path, max_pixels: int | None) -> NDArray[np.uint8]:
    """Read an image file by its name."""
    name = quote(path)
    try:
        if path.is_dir():
            raise InputError(f"{name}: expected an image, found a folder; name its images")
        with path.open("rb") as stream:
            return _from_file(stream, name, max_pixels)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = quote(getattr(error, "strerror", None) or error)
        raise InputError(
            f"{name}: expected an image, found no readable file ({reason}); check the path"
        ) from error


def _from_stream(stream: IO[bytes], max_pixels: int | None) -> NDArray[np.uint8]:
    """Read what is left in a file object: Pillow wants to seek, which a socket cannot."""
    name = "image file"
    if isinstance(stream, io.TextIOBase):
        raise InputError(f"{name}: expected bytes, found a text file; open it in mode 'rb'")
    try:
        content = stream.read()
    except MemoryError:
        raise
    except Exception as error:  # any error of the source: a closed file, a network
        raise InputError(_damaged(name, error)) from error
    if inspect.iscoroutine(content):
        content.close()  # or Python warns that it was never awaited
        raise InputError(f"{name}: expected bytes, found a coroutine; await read() and pass those")
    if not isinstance(content, bytes | bytearray | memoryview):
        raise InputError(
            f"{name}: expected bytes, found {type(content).__name__}; open it in mode 'rb'"
        )
    return _from_bytes(content, name, max_pixels)


def _from_bytes(
    content: bytes | bytearray | memoryview, name: str, max_pixels: int | None
) -> NDArray[np.uint8]:
    """Read an image file from memory."""
    try:
        stream = io.BytesIO(content)
    except BufferError as error:  # every other byte of a buffer, for example
        raise InputError(f"{name}: expected contiguous bytes, found {error}; pass bytes") from error
    return _from_file(stream, name, max_pixels)


def _from_file(stream: IO[bytes], name: str, max_pixels: int | None) -> NDArray[np.uint8]:
    """Decode an image file; any error in its bytes becomes an `InputError`."""
    try:
        image = open_image(stream)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes make Pillow's parsers raise nearly anything
        raise InputError(_damaged(name, error)) from error
    _check_pixels(name, image.size, max_pixels)
    return _from_pil(image, name)


def _check_pixels(name: str, size: tuple[int, ...], max_pixels: int | None) -> None:
    """Refuse an image of more pixels than the caller wants; `size` is (width, height)."""
    if max_pixels is not None and len(size) == 2 and size[0] * size[1] > max_pixels:
        raise InputError(
            f"{name}: expected at most {max_pixels} pixels, found {size[0]}x{size[1]} "
            "(width x height); scale it down, or raise max_pixels if you trust it"
        )


def _from_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Decode, turn upright and convert to RGB, without touching the caller's image."""
    try:
        with suppress_warnings():
            load_pixels(image)
            orientation = image.getexif().get(_EXIF_ORIENTATION)
            grey = _eight_bit(image)
            upright = _upright(image if grey is None else grey, orientation)
            pixels = _rgb(upright)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes make Pillow's decoders raise nearly anything
        raise InputError(_damaged(name, error)) from error
    if pixels.size == 0:
        raise InputError(f"{name}: expected at least one pixel, found size {image.size}")
    return pixels


def _upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """The image as its camera was held, by the eight values of EXIF's orientation."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _eight_bit(image: Image.Image) -> Image.Image | None:
    """A decoded image of 12 or 16 bit grey scaled to 8 bit: 0 is black, the largest value white.

    Returns:
        A new image of mode L; None if the image holds nothing beyond 8 bit.

    Raises:
        InputError: its values are signed, floats or of 32 bit, which say nothing of where white is.
    """
    from PIL import Image as PillowImage

    tags: Any = getattr(image, "tag_v2", {})
    for kind in _tuple(tags.get(_SAMPLE_FORMAT, _UNSIGNED)):
        if kind != _UNSIGNED:
            raise _refused_grey("signed integers" if kind == _SIGNED else "floats")
    if image.mode == "F":
        raise _refused_grey("32-bit floats")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return None
    bits = int(_tuple(tags.get(_BITS_PER_SAMPLE, 16))[0])
    white = (1 << bits) - 1
    values = np.asarray(image)
    if bits > 16 or values.min(initial=0) < 0 or values.max(initial=0) > white:
        raise _refused_grey("32-bit integers")
    scaled = values.astype(np.uint32)  # in place from here on: images may be large
    if tags and tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO:  # as Pillow for 8 bit
        np.subtract(white, scaled, out=scaled)
    scaled *= 255
    scaled += white // 2
    scaled //= white
    return PillowImage.fromarray(scaled.astype(np.uint8))


def _refused_grey(found: str) -> InputError:
    return InputError(f"expected unsigned pixels of 16 bit at most, found {found}; scale to 8 bit")


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels uint8 [H, W, 3] of a PIL image of any mode that holds values of 1 or 8 bit."""
    if image.mode == "1":
        return _from_array(np.asarray(image).astype(np.uint8) * np.uint8(255))
    if image.mode in ("P", "RGBa"):  # P straight to RGB would warn of transparent colors
        image = image.convert("RGBA")
    if image.mode != "RGB":
        try:
            image = image.convert("RGB")  # drops alpha
        except ValueError as error:
            raise InputError(
                f"expected grey, RGB or CMYK pixels, found {image.mode}; convert it to RGB"
            ) from error
    return _from_array(np.asarray(image))


def _damaged(name: str, error: Exception) -> str:
    reason = quote(" ".join(str(error).split())) or type(error).__name__
    return f"{name}: expected an image, found a damaged one ({reason}); get the file anew"
