"""Names of files that any file system can hold side by side."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

_LONGEST = 180  # bytes of a folder or file; file systems take 255, and suffixes are added
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f\ud800-\udfff]')  # by Windows, or no character
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)$", re.IGNORECASE)  # devices of Windows


def folded(name: str) -> str:
    """A name as file systems see it that tell neither case nor Unicode forms apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def portable(names: Iterable[str]) -> list[str]:
    """The same relative names, with forward slashes, as any file system can hold them.

    No part is hidden, reserved, too long or steps up; no two are the same where case and Unicode
    forms are, and none is also the folder of another.
    """
    plain = ["/".join(map(_portable_part, name.split("/"))) for name in names]
    folders = {folded(str(folder)) for name in plain for folder in PurePosixPath(name).parents}
    return numbered(plain, taken=folders, key=folded)


def numbered(
    names: Sequence[str], *, taken: Iterable[str] = (), key: Callable[[str], str] = str
) -> list[str]:
    """The same names, each once: a number is added to those that are taken or come again.

    Args:
        names: with their suffixes.
        taken: keys that no name may have.
        key: of a name; names of the same key are the same.
    """
    used = set(taken)
    found = []
    for name in names:
        path, number, unique = PurePosixPath(name), 1, name
        while key(unique) in used:
            number += 1
            unique = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        used.add(key(unique))
        found.append(unique)
    return found


def _portable_part(part: str) -> str:
    part = _FORBIDDEN.sub("_", part).rstrip(". ")
    if part.startswith(".") or not part:
        part = f"_{part[1:]}"
    stem, dot, suffix = part.rpartition(".")
    if _RESERVED.match(part.partition(".")[0]):
        return f"_{part}"
    if len(part.encode()) <= _LONGEST:
        return part
    if not dot or len(suffix) > 8:
        stem, dot, suffix = part, "", ""
    digest = hashlib.sha256(part.encode()).hexdigest()[:12]
    kept = stem.encode()[: _LONGEST - 30].decode(errors="ignore")
    return f"{kept}-{digest}{dot}{suffix}"
