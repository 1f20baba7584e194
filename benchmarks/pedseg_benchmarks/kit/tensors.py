"""Where the weights lie inside checkpoints and artifacts: ranges of bytes of the file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

SMALLEST = 1024  # bytes; below, a tensor stays where it is
# onnx.TensorProto's and safetensors' names of numpy's dtypes; others are plain bytes here.
ONNX_TYPES = {1: "float32", 10: "float16", 7: "int64"}
SAFETENSORS_TYPES = {"F32": "float32", "F16": "float16", "I64": "int64"}
ITEM_SIZES = {"float32": 4, "float16": 2, "int64": 8, "": 4}
LOCAL_HEADER = 30  # bytes before the name in a zip archive


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor inside a file.

    Attributes:
        offset: of its first byte in the file.
        size: in bytes.
        dtype: numpy's name of it; "" where the file does not say.
        shape: () where the file does not say.
    """

    offset: int
    size: int
    dtype: str = ""
    shape: tuple[int, ...] = ()


def find_tensors(path: Path, content: bytes) -> list[Tensor]:
    """The tensors of at least `SMALLEST` bytes in the order of the file.

    Args:
        path: of a checkpoint, an ONNX graph or an archive of torch; other files have none.
        content: of the file.
    """
    found: Iterator[Tensor] = iter(())
    if path.suffix == ".safetensors":
        found = _in_safetensors(content)
    elif zipfile.is_zipfile(path):
        found = _in_archive(path, content)
    elif path.suffix == ".onnx":
        found = _in_onnx(content)
    return sorted((one for one in found if one.size >= SMALLEST), key=lambda one: one.offset)


def _in_safetensors(content: bytes) -> Iterator[Tensor]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            dtype = SAFETENSORS_TYPES.get(entry["dtype"], "")
            yield Tensor(8 + length + begin, end - begin, dtype, tuple(entry["shape"]))


def _in_onnx(content: bytes) -> Iterator[Tensor]:
    """Initializers lie in the file as they are, one after the other."""
    position = 0
    for tensor in onnx.load_from_string(content).graph.initializer:
        raw = tensor.raw_data
        if len(raw) < SMALLEST:
            continue
        position = content.find(raw, position)
        if position < 0:
            return  # in another order: what is left is packed with the rest of the file
        yield Tensor(position, len(raw), ONNX_TYPES.get(tensor.data_type, ""), tuple(tensor.dims))
        position += len(raw)


def _in_archive(path: Path, content: bytes) -> Iterator[Tensor]:
    """Members that are stored as they are; torch compresses none of its weights."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type == zipfile.ZIP_STORED:
                start = member.header_offset
                name, extra = (
                    int.from_bytes(content[start + at : start + at + 2], "little")
                    for at in (26, 28)
                )
                yield Tensor(start + LOCAL_HEADER + name + extra, member.file_size)
