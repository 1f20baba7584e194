"""One compressed tar in parts of limited size, and the listing beside them.

The parts joined in the order of their names are a plain `.tar.xz`, so that without pedseg
`cat kit.tar.xz.* | tar xJ` unpacks them.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

from pedseg_runtime.errors import InputError
from pedseg_runtime.files import sha256_of, write_json

SCHEMA, SCHEMA_VERSION = "pedseg-kit", 1
LISTING, STEM = "kit.json", "kit.tar.xz"
MOST_PART_BYTES = 64 * 2**20
PRESET = 6  # of xz; higher ones gain 1 % on weights, which hardly compress


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the archive: its file name, size in bytes and SHA-256."""

    name: str
    bytes: int
    sha256: str


class PartWriter(io.RawIOBase):
    """A binary stream that goes into files `STEM.00`, `STEM.01`, ... of at most `most` bytes."""

    def __init__(self, folder: Path, most: int) -> None:
        super().__init__()
        self._folder, self._most = folder, most
        self._part: Any = None
        self._digest, self._size = hashlib.sha256(), 0
        self.parts: list[Part] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write all of it, and begin new parts where the present one is full."""
        rest = memoryview(data).cast("B")
        total = len(rest)
        while len(rest):
            if self._part is None:
                name = f"{STEM}.{len(self.parts):02}"
                self._part = (self._folder / name).open("wb")
                self._digest, self._size = hashlib.sha256(), 0
            piece = rest[: self._most - self._size]
            self._part.write(piece)
            self._digest.update(piece)
            self._size += len(piece)
            rest = rest[len(piece) :]
            if self._size == self._most:
                self._finish_part()
        return total

    def close(self) -> None:
        """Finish the last part."""
        self._finish_part()
        super().close()

    def _finish_part(self) -> None:
        if self._part is not None:
            name = Path(self._part.name).name
            self._part.close()
            self.parts.append(Part(name, self._size, self._digest.hexdigest()))
            self._part = None


class PartReader(io.RawIOBase):
    """The parts as one binary stream."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._left = list(paths)
        self._part: Any = None

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill some of `buffer`; 0 at the end of the last part."""
        while True:
            if self._part is None:
                if not self._left:
                    return 0
                self._part = self._left.pop(0).open("rb")
            count: int = self._part.readinto(buffer)
            if count:
                return count
            self._part.close()
            self._part = None

    def close(self) -> None:
        """Close the part that is open."""
        if self._part is not None:
            self._part.close()
        super().close()


class Archive:
    """A tar that is being written."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.contents: dict[str, int] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add a file; nothing of this machine's users or clock is in it."""
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        self.contents[name] = len(data)

    def add_folder(self, name: str, folder: Path) -> None:
        """Add all files of a folder, sorted, under another name."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                self.add(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@contextmanager
def writing(kit: Path, *, part_bytes: int, facts: Mapping[str, Any]) -> Iterator[Archive]:
    """An archive that becomes the kit in the folder `kit`; an older one there is replaced.

    The listing is written last: a folder without one is no kit.

    Args:
        kit: the folder.
        part_bytes: most bytes of a part.
        facts: stand in the listing as well; those that become known only while the archive is
            written may be added until the end.
    """
    if not 0 < part_bytes <= MOST_PART_BYTES:
        raise InputError(f"part size: expected 1 to {MOST_PART_BYTES} bytes, found {part_bytes}")
    kit.mkdir(parents=True, exist_ok=True)
    (kit / LISTING).unlink(missing_ok=True)
    for old in kit.glob(f"{STEM}.*"):
        old.unlink()
    with (
        PartWriter(kit, part_bytes) as parts,
        lzma.LZMAFile(cast("IO[bytes]", parts), "wb", preset=PRESET) as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        archive = Archive(tar)
        yield archive
    write_json(
        kit / LISTING,
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            **facts,
            "parts": [asdict(part) for part in parts.parts],
            "packed_bytes": sum(part.bytes for part in parts.parts),
            "unpacked_bytes": sum(archive.contents.values()),
        },
    )


def read_listing(kit: Path) -> dict[str, Any]:
    """The listing of a kit.

    Raises:
        InputError: the folder is no kit, or one of a newer schema.
    """
    try:
        found: dict[str, Any] = json.loads((kit / LISTING).read_text(encoding="utf-8"))
        schema, version = found["schema"], found["schema_version"]
    except (OSError, ValueError, KeyError, TypeError):
        schema, version = None, 0
    if schema != SCHEMA or version > SCHEMA_VERSION:
        raise InputError(
            f"{kit}: expected a kit with its {LISTING}, schema {SCHEMA} {SCHEMA_VERSION}, found "
            f"{f'version {version}' if schema == SCHEMA else 'none'}; make one with pedseg-bench "
            "pack"
        )
    return found


def check_parts(kit: Path, listing: Mapping[str, Any]) -> list[Path]:
    """The paths of all parts, in order, each of them whole.

    Raises:
        InputError: parts are missing or damaged; all of them are named.
    """
    parts = [Part(**part) for part in listing["parts"]]
    wrong = [
        f"{part.name} ({'damaged' if (kit / part.name).exists() else 'missing'})"
        for part in parts
        if not (kit / part.name).is_file() or sha256_of(kit / part.name) != part.sha256
    ]
    if wrong:
        raise InputError(
            f"{kit}: expected {len(parts)} parts as in {LISTING}, found {', '.join(wrong)}; copy "
            "them anew"
        )
    return [kit / part.name for part in parts]


def extract(parts: Sequence[Path], target: Path) -> None:
    """Unpack the joined parts into a folder."""
    with (
        io.BufferedReader(PartReader(parts), 2**20) as joined,
        lzma.LZMAFile(joined) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        tar.extractall(target, filter="data")
