"""Slimming of CUDA libraries: machine code for other GPUs is zeroed, which packs to nothing.

A library holds its kernels in the ELF section `.nv_fatbin`, as a sequence of containers with one
entry per architecture. The CUDA runtime takes the entry that suits the GPU and never looks into the
others. NVIDIA does not document the layout beyond the container's header in CUDA's
`fatbinary_section.h`; the other fields were read off onnxruntime-gpu 1.31.1, see the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pedseg_runtime.errors import InputError

SECTION = b".nv_fatbin"
MAGIC = 0xBA55ED50
CONTAINER = struct.Struct("<IHHQ")  # magic, version, header size, bytes that follow
ENTRY = struct.Struct("<HHIQ")  # kind, version, header size, payload size
ARCHITECTURE = 28  # offset in an entry
PTX, CUBIN = 1, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """Code for one architecture: kind, architecture (90 for 9.0), and the payload's place."""

    kind: int
    architecture: int
    start: int
    size: int

    def suits(self, gpu: int) -> bool:
        """Whether a GPU of compute capability `gpu` (90 for 9.0) can use it.

        Machine code runs within a major version, on the same minor one or a newer; PTX is compiled
        for any newer GPU.
        """
        if self.kind == CUBIN and gpu // 10 != self.architecture // 10:
            return False
        return self.architecture <= gpu


def slim(library: bytearray, gpus: Sequence[int]) -> int:
    """Zero the code in an ELF library that none of the GPUs can use, in place.

    Args:
        library: the file.
        gpus: compute capabilities, 90 for 9.0.

    Returns:
        How many bytes were zeroed; 0 for a library without CUDA code.

    Raises:
        InputError: nothing is there for one of the GPUs.
    """
    entries = list(find_entries(library))
    for gpu in gpus:
        if entries and not any(entry.suits(gpu) for entry in entries):
            found = sorted({entry.architecture for entry in entries})
            raise InputError(
                f"GPU: expected code for compute capability {gpu / 10:.1f}, found it for "
                f"{', '.join(f'{one / 10:.1f}' for one in found)}; name one of these"
            )
    unused = [entry for entry in entries if not any(entry.suits(gpu) for gpu in gpus)]
    for entry in unused:
        library[entry.start : entry.start + entry.size] = bytes(entry.size)
    return sum(entry.size for entry in unused)


def find_entries(library: bytes | bytearray) -> Iterator[Entry]:
    """Every entry of every container."""
    position, end = _section(library)
    while position + CONTAINER.size <= end:
        magic, _, header, size = CONTAINER.unpack_from(library, position)
        if magic != MAGIC:  # padding
            position += 8
            continue
        place, position = position + header, position + header + size
        while place < position:
            kind, _, own_header, payload = ENTRY.unpack_from(library, place)
            (architecture,) = struct.unpack_from("<I", library, place + ARCHITECTURE)
            yield Entry(kind, architecture, place + own_header, payload)
            place += own_header + payload


def _section(library: bytes | bytearray) -> tuple[int, int]:
    """Start and end of the section in a 64-bit ELF file; (0, 0) without one."""
    if library[:5] != b"\x7fELF\x02":
        return 0, 0
    (table,) = struct.unpack_from("<Q", library, 40)
    row, count, names = struct.unpack_from("<HHH", library, 58)
    (names_at,) = struct.unpack_from("<Q", library, table + names * row + 24)
    for index in range(count):
        name, _, _, _, offset, size = struct.unpack_from("<IIQQQQ", library, table + index * row)
        start = names_at + name
        if library[start : start + len(SECTION) + 1] == SECTION + b"\0":
            return offset, offset + size
    return 0, 0
