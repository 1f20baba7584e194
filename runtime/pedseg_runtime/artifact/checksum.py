"""The checksum: an artifact ends with the SHA-256 of everything before it, as 64 hex digits.

It tells a file that was cut off, damaged or edited after the export from one that was not, before
any of it is used. It is no signature: a deliberate edit can append a new checksum.

Both kinds of file have an unused place at their end that every reader accepts:
an ONNX file its last `metadata_props` entry, a zip archive (TorchScript, torch.export) its comment.
The few bytes that announce the digits count as content, so one rule checks both:
`content, digest = data[:-64], data[-64:]`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from ..errors import ArtifactError
from .metadata import METADATA_FIELD, is_archive, read_metadata

CHECKSUM_KEY = "pedseg_sha256"
DIGITS = 64
CHUNK = 1 << 20

_ARCHIVE_END = b"PK\x05\x06"  # starts the record that ends a zip file
_ARCHIVE_END_SIZE = 22  # without its comment; the last two bytes are the comment's length
_COMMENT_LENGTH = DIGITS.to_bytes(2, "little")


def _checksum_header() -> bytes:
    """The protobuf bytes of the entry {key: CHECKSUM_KEY, value: 64 bytes} up to that value."""
    key = CHECKSUM_KEY.encode("ascii")
    entry = bytes([0x0A, len(key)]) + key + bytes([0x12, DIGITS])
    return bytes([METADATA_FIELD << 3 | 2, len(entry) + DIGITS]) + entry


_CHECKSUM_HEADER = _checksum_header()


def append_checksum(path: Path) -> None:
    """Append its SHA-256 to the finished artifact at `path`, in place.

    Raises:
        ArtifactError: the file has a checksum already, or is an archive with a comment of its own.
    """
    with path.open("r+b") as stream:
        if _has_checksum(stream):
            raise ArtifactError(
                f"{path}: expected an artifact without a checksum, found one that has it already; "
                "write it anew and append the checksum once, when it is finished"
            )
        if is_archive(path):
            _reserve_comment(stream, path)
        else:
            stream.seek(0, os.SEEK_END)
            stream.write(_CHECKSUM_HEADER)
        length = stream.seek(0, os.SEEK_END)
        stream.write(_digest(stream, length))


def verify_checksum(path: Path) -> str:
    """Make sure that the artifact at `path` is what was exported, byte for byte.

    Returns:
        The SHA-256 of its content, 64 hex digits.

    Raises:
        ArtifactError: the content was changed after the export; or there is no checksum, and
            the file is foreign, cut off, of a newer schema, or an unfinished artifact.
    """
    with path.open("rb") as stream:
        if _has_checksum(stream):
            length = stream.seek(-DIGITS, os.SEEK_END)
            stored = stream.read(DIGITS)
            found = _digest(stream, length)
            if found != stored:
                raise ArtifactError(
                    f"{path}: expected the content that was exported (sha256 {_short(stored)}), "
                    f"found it changed since (sha256 {_short(found)}): damaged, edited or saved "
                    "by another tool; copy it anew, or export the checkpoint again"
                )
            return found.decode("ascii")
    read_metadata(path)  # says so if the file is no artifact, not all of one, or a newer one
    raise ArtifactError(
        f"{path}: expected an artifact that ends with its checksum, found none: the file was never "
        "finished, was saved by another tool, or has lost its end; copy it anew, or export the "
        "checkpoint again with pedseg-export"
    )


def _has_checksum(stream: BinaryIO) -> bool:
    """Whether a checksum, right or wrong, stands at the end of the file."""
    ending = max(len(_CHECKSUM_HEADER), _ARCHIVE_END_SIZE) + DIGITS
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - ending))
    before = stream.read(ending)[:-DIGITS]
    record = before[-_ARCHIVE_END_SIZE:]
    return before.endswith(_CHECKSUM_HEADER) or (
        record.startswith(_ARCHIVE_END) and record.endswith(_COMMENT_LENGTH)
    )


def _reserve_comment(stream: BinaryIO, path: Path) -> None:
    """Set the length of the comment that the archive is about to get."""
    stream.seek(0, os.SEEK_END)
    start = max(0, stream.tell() - _ARCHIVE_END_SIZE)
    stream.seek(start)
    record = stream.read()
    if not record.startswith(_ARCHIVE_END) or record[-2:] != b"\0\0":
        raise ArtifactError(
            f"{path}: expected an archive that ends without a comment, found another ending; "
            "write it anew with torch and append the checksum once"
        )
    stream.seek(-2, os.SEEK_END)
    stream.write(_COMMENT_LENGTH)


def _digest(stream: BinaryIO, length: int) -> bytes:
    """The SHA-256 of the first `length` bytes, as 64 hex digits."""
    digest = hashlib.sha256()
    stream.seek(0)
    while length > 0 and (chunk := stream.read(min(CHUNK, length))):
        digest.update(chunk)
        length -= len(chunk)
    stream.seek(0, os.SEEK_END)
    return digest.hexdigest().encode("ascii")


def _short(digits: bytes) -> str:
    """The start of a digest for a message; damaged digits may hold any bytes."""
    return digits[:12].decode("ascii", "backslashreplace") + "..."
