"""What data that is no readable image really is, for an error that says so."""

from __future__ import annotations

import base64
import binascii
import re

HEAD = 600
"""Bytes from the start that tell what a file is."""

# Of a transport stream: bare packets, those with a time before them, those with error correction.
_PACKET_SIZES = (188, 192, 204)
_PACKETS = 5  # whose first byte must be right: no text is by chance
TRANSPORT_HEAD = (_PACKETS + 1) * max(_PACKET_SIZES)
"""Bytes from the start that tell whether a file is a transport stream."""

_FORMATS = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"BM....\0\0\0\0", "BMP"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"P[1-6]\s", "PPM"),
    (rb"....ftyp(avif|avis)", "AVIF"),
    (rb"....ftyp(hei[cxms]|hev[cxms]|mif[12]|msf1)", "HEIF"),
)
_VIDEO = (
    rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|OggS|\0\0\x01[\xb3\xba]|\x47.{187}\x47.{187}\x47"
)
_OTHERS = (
    (rb"(\r\n)?--[^\r\n]{1,200}\r?\n(?i:content-)", "a multipart body; pass the content of a part"),
    (rb"(?i:data:)[^,]{0,100},", "a data URL; decode with base64 what follows its comma"),
    (rb"version https://git-lfs", "a pointer of Git LFS; get the file itself by git lfs pull"),
    (
        rb"\s*(?i:<!doctype html|<html|<head|<body)",
        "an HTML page; read what it says",
    ),
    (rb"\s*(<\?xml|<svg|<!--)", "XML or SVG; save it as PNG"),
    (rb"\s*[{[]\s*[\"{[\d\]}]", "JSON text; pass the image's bytes"),
    (_VIDEO, "a video; give its file the suffix of one for pedseg-predict, or save its frames"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL image; save it as PNG"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image; save it as PNG"),
    (rb"8BPS", "a Photoshop file; save it as PNG"),
    (rb"\0\0[\x01\x02]\0.\0", "an icon; save it as PNG"),
    (rb"v/1\x01|#\?RADIANCE", "an image of high dynamic range; save it as PNG"),
    (rb".{128}DICM", "a DICOM file; save its image as PNG"),
    (rb"\x93NUMPY", "a NumPy file; pass the array"),
    (rb"%PDF", "a PDF; save its pages as PNG"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive; unpack it"),
    (rb"\0{16}", "zeros where an image begins; get the file anew"),
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\s-]{24,}={0,2}\s*")


def image_format(head: bytes) -> str | None:
    """The image format that these first bytes announce, if pedseg knows it; None otherwise."""
    for pattern, name in _FORMATS:
        if re.match(pattern, head, re.DOTALL):
            return name
    return None


def describe(head: bytes, formats: str) -> str:
    """What data is that could not be opened as an image, and what to do.

    Args:
        head: its first `HEAD` bytes, or all of fewer.
        formats: those that are read, for a message.
    """
    if not head:
        return "nothing (0 bytes); check how it was sent or copied"
    name = image_format(head)
    if name == "HEIF" and name not in formats:
        return "a HEIC image; pip install 'pedseg[heic]' to read it, or save it as JPEG"
    if name == "AVIF" and name not in formats:
        return "an AVIF image, which takes Pillow 11.3 or later; update it, or save it as JPEG"
    if name is not None:
        return (
            f"a damaged {name} file, or one of a kind that Pillow cannot read; get it anew, or "
            "save it as PNG"
        )
    if is_base64_image(head):
        return "base64 text; decode it with base64.b64decode"
    for pattern, found in _OTHERS:
        if re.match(pattern, head, re.DOTALL):
            return found
    return f"data of no known image format ({formats}); check the file"


def is_transport_stream(head: bytes) -> bool:
    """Whether this is the start of an MPEG transport stream, which may begin within a packet.

    Args:
        head: the first `TRANSPORT_HEAD` bytes of a file, or all of fewer.
    """
    return any(
        head[start : start + _PACKETS * size : size] == _PACKETS * b"\x47"
        for size in _PACKET_SIZES
        for start in range(size)
    )


def describe_text(text: str) -> str | None:
    """What a text is that was given for a path, if it is none; None for what may be a path."""
    if re.match(r"data:[^,]{0,100},", text, re.IGNORECASE):
        return "a data URL; decode what follows its comma with base64.b64decode, pass the bytes"
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        return "a URL; download it and pass the bytes"
    if is_base64_image(text[:HEAD].encode("ascii", "replace")):
        return "base64 text; decode it with base64.b64decode and pass the bytes"
    return None


def is_base64_image(head: bytes) -> bool:
    """Whether this is the start of an image in base64, also of the kind for URLs."""
    if not _BASE64.fullmatch(head):
        return False
    letters = re.sub(rb"\s", b"", head).translate(bytes.maketrans(b"-_", b"+/"))[:64]
    try:
        content = base64.b64decode(letters[: len(letters) // 4 * 4])
    except binascii.Error:
        return False
    return image_format(content) is not None
