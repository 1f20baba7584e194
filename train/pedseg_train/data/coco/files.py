"""Where a COCO file's images are, and names for them that point nowhere else.

Tools write file names for their own machine: with a folder, absolute, with drive letters and
backslashes, as addresses, or with letters composed in another way (`é` as one character or two).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from pedseg_runtime.errors import DatasetError

from ..file_names import folded, numbered

IMAGES = "images"
ANNOTATIONS = "annotations"
_PROBES = 20
_DRIVE = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")  # C: of Windows, https: of an address


def find_annotations(folder: Path) -> Path | None:
    """The COCO file of a folder: in `annotations`, else in the folder itself; None without any.

    Of several, the only one whose name begins with "instances" is meant, as in COCO itself.

    Raises:
        DatasetError: several files that might be meant.
    """
    for place in (folder / ANNOTATIONS, folder):
        files = sorted(place.glob("*.json")) if place.is_dir() else []
        instances = [file for file in files if file.name.startswith("instances")]
        for candidates in (files, instances):
            if len(candidates) == 1:
                return candidates[0]
        if files:
            names = ", ".join(file.name for file in files[:6])
            raise DatasetError(
                f"{folder}: expected one COCO JSON file in {place.name}, found {len(files)} "
                f"({names}); name the file itself"
            )
    return None


def find_folder(file: Path, names: Sequence[str]) -> Path:
    """The folder that the file names `names` of the COCO file `file` are relative to.

    Tried are the file's own folder and its parent, their folder `images`, and there one that is
    called like the annotations (`instances_train.json`: `train`). Most of the first names decide,
    by their ends and then as they stand.
    """
    own = file.parent
    part = file.stem.removeprefix("instances_")
    roots = [own, own / IMAGES, own.parent / IMAGES, own.parent]
    candidates = [*roots, *(root / part for root in (own, own.parent, own.parent / IMAGES))]
    probes, listings = names[:_PROBES], Listings()

    def found(folder: Path) -> tuple[int, int]:
        as_they_stand = sum(listings.find(folder, name) is not None for name in probes)
        return sum(path is not None for path in locate(folder, probes, listings)), as_they_stand

    return max(candidates, key=found)  # the first of equals


class Listings:
    """The files of folders, each listed once."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[dict[str, str], dict[str, str]]] = {}

    def find(self, folder: Path, name: str) -> Path | None:
        """The file `name` of `folder`, also if its letters are composed or cased otherwise."""
        path = folder / name
        exact, alike = self._list(path.parent)
        found = path.name if path.name in exact else alike.get(folded(path.name))
        return path.with_name(found) if found else None

    def _list(self, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
        if folder not in self._known:
            names = _files(folder)
            alike: dict[str, str] = {}
            for name in names:  # of several that are alike, none is meant
                alike[folded(name)] = "" if folded(name) in alike else name
            self._known[folder] = (dict.fromkeys(names, ""), alike)
        return self._known[folder]


def locate(
    folder: Path, names: Iterable[str], listings: Listings | None = None
) -> list[Path | None]:
    """The file of each name: as it stands from `folder`, else the longest end of it there is.

    Args:
        folder: what relative names begin at.
        names: with forward slashes, perhaps absolute or from another machine.
        listings: to be shared between calls.
    """
    listings = listings or Listings()
    found = []
    for name in names:
        path = listings.find(folder, name)
        parts = plain_parts(name)
        for first in range(len(parts)):
            if path is not None:
                break
            path = listings.find(folder, "/".join(parts[first:]))
        found.append(path)
    return found


def plain_parts(name: str) -> list[str]:
    """The folders and the file of a name, without a drive, a root, and steps up or aside."""
    return [part for part in _DRIVE.sub("", name).split("/") if part not in ("", ".", "..")]


def plain_names(names: Sequence[str]) -> list[str]:
    """The same names, relative and without steps up, each once.

    Names that are so already stay. Of the others, the folders that all of them share are left out.
    """
    usual = {name: str(PurePosixPath(name)) for name in names}
    odd = sorted(name for name in names if "/".join(plain_parts(name)) != usual[name])
    parents = [tuple(plain_parts(name)[:-1]) for name in odd]
    shared = 0
    while parents and all(len(parent) > shared for parent in parents):
        if len({parent[shared] for parent in parents}) > 1:
            break
        shared += 1
    usual |= {name: "/".join(plain_parts(name)[shared:]) or "unnamed" for name in odd}
    first = [*sorted(usual.keys() - set(odd)), *odd]  # those that stay
    unique = dict(zip(first, numbered([usual[name] for name in first]), strict=True))
    return [unique[name] for name in names]


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _is_file(entry))
    except (OSError, ValueError):  # nothing there, no folder, or a name that no folder can have
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False
