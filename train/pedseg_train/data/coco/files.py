"""Where the pictures of a COCO file are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from pedseg_runtime.errors import DatasetError

IMAGES = "images"
ANNOTATIONS = "annotations"
_PROBES = 20


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


def find_images(file: Path, names: Sequence[str]) -> Path:
    """The folder that the file names `names` of the COCO file `file` are relative to.

    Tried are the file's own folder and its parent, their folder `images`, and there one that is
    called like the annotations (`instances_train.json`: `train`). Most of the first names decide.
    """
    own = file.parent
    part = file.stem.removeprefix("instances_")
    roots = [own, own / IMAGES, own.parent / IMAGES, own.parent]
    candidates = [*roots, *(root / part for root in (own, own.parent, own.parent / IMAGES))]
    probes = names[:_PROBES]

    def found(folder: Path) -> int:
        return sum((folder / name).is_file() for name in probes)

    return max(candidates, key=found)  # the first of equals


def missing_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of `names` that are no files of `folder`; every folder is listed once."""
    listed: dict[str, set[str]] = {}
    missing = []
    for name in names:
        path = PurePosixPath(name)
        parent = str(path.parent)
        if parent not in listed:
            listed[parent] = _listing(folder / parent)
        if path.name not in listed[parent]:
            missing.append(name)
    return missing


def _listing(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
