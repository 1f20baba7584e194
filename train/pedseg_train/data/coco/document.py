"""A COCO JSON file as it stands: its lists, and entries that can be relied on."""

from __future__ import annotations

import gc
import json
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeGuard

from pedseg_runtime.errors import DatasetError

from ..check_report import Problem

KEYS = ("images", "annotations", "categories")
Identity: TypeAlias = int | str
_BACKGROUND = ("background", "_background_")
_NO_PARENT = (None, "", "none")
_quoting = reprlib.Repr()
_quoting.maxstring = _quoting.maxother = 60


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image as the file describes it.

    Attributes:
        id: of the image in the file; a number also where the file has it as text.
        file_name: as in the file, with forward slashes; see `files` for what it may be.
        width, height: in pixels.
    """

    id: Identity
    file_name: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"image {self.id} ({_shortened(self.file_name)})"


def _shortened(name: str) -> str:
    return name if len(name) <= 100 else f"...{name[-97:]}"


def load_document(path: Path) -> dict[str, list[Any]]:
    """The lists "images", "annotations" and "categories" of the file at `path`.

    Raises:
        DatasetError: no file, no JSON, or JSON of something else.
    """
    expected = f"expected COCO JSON with the lists {', '.join(KEYS)}"
    collecting = gc.isenabled()
    gc.disable()  # millions of lists are made and none is garbage: looking for it costs as much
    try:
        document: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DatasetError(f"{path}: {expected}, found nothing; check the path") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: {expected}, found no JSON ({error}); get it anew") from error
    finally:
        if collecting:
            gc.enable()
    if isinstance(document, list):
        raise DatasetError(
            f"{path}: {expected}, found a list; a file of results holds detections, name the one "
            "with the ground truth"
        )
    lacking = [key for key in KEYS if not isinstance(document, dict) or key not in document]
    if lacking:
        raise DatasetError(
            f"{path}: {expected}, found no {' and no '.join(lacking)}; name a file of instance "
            "annotations"
        )
    for key in KEYS:
        if not isinstance(document[key], list):
            raise DatasetError(f"{path}: {expected}, found no list under {key!r}; mend the file")
    return {key: document[key] for key in KEYS}


def read_categories(
    entries: list[Any], used: Collection[Identity], file: str, problems: list[Problem]
) -> dict[Identity, str]:
    """Names by id, in the order of the ids; entries without are added to `problems`.

    Left out are categories without annotations that are none: a background, the root of a tree (as
    Roboflow writes it), and another one of the same name.

    Args:
        entries: the list "categories" of the file.
        used: the ids that annotations have.
        file: for messages.
        problems: what is wrong is added to it.
    """
    names: dict[Identity, str] = {}
    parents = {
        _get(entry, "supercategory") for entry in entries if _is_text(_get(entry, "supercategory"))
    } - {_get(entry, "name") for entry in entries if _is_own_parent(entry)}
    needed = {
        _get(entry, "name").strip()
        for entry in entries
        if identity_of(_get(entry, "id")) in used and _is_text(_get(entry, "name"))
    }
    for place, entry in enumerate(entries):
        category, name = identity_of(_get(entry, "id")), _get(entry, "name")
        name = name.strip() if _is_text(name) else name
        message = ""
        if category is None or not _is_text(name):
            message = (
                f"category number {place}: expected an id and a name, found id "
                f"{quoted(_get(entry, 'id'))} and name {quoted(name)}; give it both"
            )
        elif category in names:
            message = f"category {category}: expected every id once, found it again; renumber"
        elif category not in used and (
            name.lower() in _BACKGROUND
            or name in needed
            or (name in parents and _get(entry, "supercategory") in _NO_PARENT)
        ):
            continue
        elif name in names.values():
            message = (
                f"category {category}: expected every name once, found {quoted(name)} again; rename"
            )
        else:
            names[category] = name
        if message:
            problems.append(Problem("error", file, message))
    return dict(sorted(names.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def read_images(entries: list[Any], file: str, problems: list[Problem]) -> list[ImageEntry]:
    """The images; what cannot be used is added to `problems`."""
    found: dict[Identity, ImageEntry] = {}
    names: dict[str, Identity] = {}
    for place, entry in enumerate(entries):
        image, fault = _read_image(entry)
        if image is None:
            problems.append(Problem("error", file, f"image number {place}: {fault}"))
        elif image.id in found:
            message = f"{image}: expected every id once, found it again for {found[image.id]}"
            problems.append(Problem("error", file, f"{message}; renumber one"))
        elif names.setdefault(image.file_name, image.id) != image.id:
            message = (
                f"{image}: expected every file once, found it as image {names[image.file_name]} "
                "too; merge their annotations"
            )
            problems.append(Problem("error", file, message))
        else:
            found[image.id] = image
    return list(found.values())


def is_number(value: Any) -> TypeGuard[float]:
    """Whether JSON had a number there."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(value: Any) -> int | None:
    """The whole number that JSON has there, also as 3.0 or "3"; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,40}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def identity_of(value: Any) -> Identity | None:
    """An id as it is compared: a number where it is one, else text; None where it is neither."""
    number = whole(value)
    return value.strip() if number is None and _is_text(value) else number


def identities(entries: list[Any], key: str) -> set[Identity]:
    """The ids that entries have under `key`."""
    found = {identity_of(_get(entry, key)) for entry in entries}
    return {identity for identity in found if identity is not None}


def quoted(value: Any) -> str:
    """A value from a file for a message, cut to less than a line."""
    return _quoting.repr(value)


def _read_image(entry: Any) -> tuple[ImageEntry | None, str]:
    """The image, or what is wrong with it."""
    identity, name = identity_of(_get(entry, "id")), _get(entry, "file_name")
    if identity is None:
        return None, f"expected an id, found {quoted(_get(entry, 'id'))}; number the images"
    # Tools on Windows write backslashes, which no file name elsewhere should have.
    path = PurePosixPath(name.replace("\\", "/")) if _is_text(name) else PurePosixPath()
    if path.name in ("", ".", ".."):
        return None, f"expected a file_name, found {quoted(name)} (id {identity}); name the file"
    sides = [_get(entry, side) for side in ("width", "height")]
    width, height = (whole(side) or 0 for side in sides)
    if min(width, height) <= 0:
        found = " and ".join(map(quoted, sides))
        return None, (
            f"expected width and height in pixels, found {found} (id {identity}, {quoted(name)}); "
            "add them"
        )
    return ImageEntry(identity, name.replace("\\", "/"), width, height), ""


def _is_own_parent(entry: Any) -> bool:
    """COCO itself names "person" as the supercategory of "person"."""
    name = _get(entry, "name")
    return _is_text(name) and name == _get(entry, "supercategory")


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is text that can be printed and written: JSON may hold halves of characters."""
    return (
        isinstance(value, str)
        and bool(value.strip())
        and not any("\ud800" <= letter <= "\udfff" for letter in value)
    )


def _get(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, Mapping) else None
