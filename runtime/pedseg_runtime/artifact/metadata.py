"""The metadata of an artifact, read from its file without the library that will run it.

So a foreign file, a damaged one and one of a newer schema are told apart before onnxruntime or
torch is asked to make sense of them.

An ONNX file is one protobuf message, `ModelProto`: a row of fields, of which only the small ones
named `metadata_props` are read here; the graph is skipped. The archives of torch are zip files
that keep their texts as `NAME/extra/FILE`.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import ArtifactError
from .manifest import (
    MANIFEST_FILE,
    MANIFEST_KEY,
    MASK_SPECS,
    SELF_TEST_FILE,
    SELF_TEST_KEY,
    Manifest,
    output_specs,
)

ZIP_MAGIC = b"PK\x03\x04"
# onnx.proto: ModelProto.metadata_props, and key and value of its StringStringEntryProto.
METADATA_FIELD = 14
_KEY_FIELD, _VALUE_FIELD = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types
# A damaged archive can ask for bytes beyond its end, for a password or an unknown compression.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
)
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an artifact holds beside its graph.

    Attributes:
        manifest: what its exporter wrote about it.
        self_test: the samples of its self-test as text, None if it has none.
    """

    manifest: Manifest
    self_test: str | None


def is_archive(path: Path) -> bool:
    """Whether the file starts as a zip archive does: TorchScript or torch.export."""
    with path.open("rb") as stream:
        return stream.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of the artifact at `path`.

    Raises:
        ArtifactError: the file is foreign, cut off or of a newer schema than this pedseg reads.
    """
    texts = _archive_texts(path) if is_archive(path) else _onnx_texts(path)
    return Metadata(parse_manifest(texts["manifest"], path), texts.get("self_test"))


def parse_manifest(text: str, path: Path) -> Manifest:
    """The manifest found in `path`, if the outputs it states are those this runtime reads.

    Raises:
        ArtifactError: the text is no manifest, or of an artifact with other outputs.
    """
    manifest = Manifest.from_json(text, str(path))
    if manifest.mask_format not in list(MASK_SPECS):  # it may be of any type
        raise ArtifactError(
            f"{path}: expected masks of the format {' or '.join(MASK_SPECS)}, found "
            f"{manifest.mask_format!r}; export the checkpoint again with pedseg-export"
        )
    expected = [(spec["name"], spec["dtype"]) for spec in output_specs(manifest.mask_format)]
    specs = [spec for spec in manifest.outputs if isinstance(spec, dict)]
    found = [(spec.get("name"), spec.get("dtype")) for spec in specs]
    if found != expected:
        raise ArtifactError(
            f"{path}: expected the outputs {', '.join(name for name, _ in expected)}, found "
            f"{', '.join(str(name) for name, _ in found)}; "
            "export the checkpoint again with pedseg-export"
        )
    return manifest


def _archive_texts(path: Path) -> dict[str, str]:
    """The extra files of a zip archive: `manifest`, and `self_test` if it is there."""
    texts = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for key, name in (("manifest", MANIFEST_FILE), ("self_test", SELF_TEST_FILE)):
                found = [entry for entry in archive.namelist() if entry.endswith(f"/extra/{name}")]
                if found:
                    texts[key] = archive.read(found[0]).decode("utf-8")
    except _UNREADABLE as error:
        raise _damaged(path, "an archive of torch", str(error)) from error
    if "manifest" not in texts:
        raise _foreign(path, "an archive")
    return texts


def _onnx_texts(path: Path) -> dict[str, str]:
    """The metadata of an ONNX model: `manifest`, and `self_test` if it is there."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        try:
            if size == 0:
                raise ValueError("it is empty")
            entries = [_entry(stream, end) for end in _fields(stream, size, METADATA_FIELD)]
            texts = {key.decode("utf-8"): value.decode("utf-8") for key, value in entries}
        except ValueError as error:
            raise _damaged(path, "an ONNX model", str(error)) from error
    names = {"manifest": MANIFEST_KEY, "self_test": SELF_TEST_KEY}
    found = {name: texts[key] for name, key in names.items() if key in texts}
    if "manifest" not in found:
        raise _foreign(path, "an ONNX model")
    return found


def _entry(stream: BinaryIO, end: int) -> tuple[bytes, bytes]:
    """Key and value of the StringStringEntryProto that reaches from here to byte `end`."""
    parts = {_KEY_FIELD: b"", _VALUE_FIELD: b""}
    start = stream.tell()
    for field in parts:
        stream.seek(start)
        for part_end in _fields(stream, end, field):
            parts[field] = stream.read(part_end - stream.tell())
    return parts[_KEY_FIELD], parts[_VALUE_FIELD]


def _fields(stream: BinaryIO, end: int, wanted: int) -> Iterator[int]:
    """Walk the fields of a protobuf message that reaches from here to byte `end`.

    Stops at the start of every field `wanted` that holds bytes and yields where it ends.

    Raises:
        ValueError: this is no protobuf message, or it does not end where it should.
    """
    while (position := stream.tell()) < end:
        tag = _varint(stream)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _varint(stream)
            continue
        if number == 0 or kind not in (_BYTES, *_FIXED_SIZES):
            raise ValueError(f"no field of a model begins at byte {position}")
        length = _varint(stream) if kind == _BYTES else _FIXED_SIZES[kind]
        stop = stream.tell() + length
        if stop > end:
            raise ValueError(f"a part should reach to byte {stop}, the end is at {end}")
        if kind == _BYTES and number == wanted:
            yield stop
        stream.seek(stop)


def _varint(stream: BinaryIO) -> int:
    """The number at this position: seven bits per byte, lowest first, the top bit says 'more'."""
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError(f"no number ends at byte {stream.tell()}")


def _foreign(path: Path, kind: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected an artifact of pedseg, found {kind} without its manifest; "
        "export a checkpoint with pedseg-export; weights of another program become one by "
        "pedseg-import"
    )


def _damaged(path: Path, kind: str, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected {kind}, found a file that is cut off, damaged or of another kind "
        f"({reason}); copy it anew, or export the checkpoint again with pedseg-export; weights of "
        "another program become a checkpoint by pedseg-import"
    )
