"""A COCO JSON file as it stands: its lists, and entries that can be relied on."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from pedseg_runtime.errors import DatasetError

from ..check_report import Problem

KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image as the file describes it.

    Attributes:
        id: of the image in the file.
        file_name: relative to the folder of images, with forward slashes.
        width, height: in pixels.
    """

    id: int
    file_name: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"image {self.id} ({self.file_name})"


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


def read_categories(entries: list[Any], file: str, problems: list[Problem]) -> dict[int, str]:
    """Names by id, in the order of the ids; entries without are added to `problems`."""
    names: dict[int, str] = {}
    for place, entry in enumerate(entries):
        category, name = _get(entry, "id"), _get(entry, "name")
        if not _is_id(category) or not isinstance(name, str) or not name.strip():
            problems.append(
                Problem(
                    "error",
                    file,
                    f"category number {place}: expected an integer id and a name, found id "
                    f"{category!r} and name {name!r}; give it both",
                )
            )
        elif category in names:
            message = f"category {category}: expected every id once, found it again; renumber"
            problems.append(Problem("error", file, message))
        elif name in names.values():
            message = f"category {category}: expected every name once, found {name!r} again; rename"
            problems.append(Problem("error", file, message))
        else:
            names[category] = name
    return dict(sorted(names.items()))


def read_images(entries: list[Any], file: str, problems: list[Problem]) -> list[ImageEntry]:
    """The images; what cannot be used is added to `problems`."""
    found: dict[int, ImageEntry] = {}
    names: dict[str, int] = {}
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


def _read_image(entry: Any) -> tuple[ImageEntry | None, str]:
    """The image, or what is wrong with it."""
    identity, name = _get(entry, "id"), _get(entry, "file_name")
    if not _is_id(identity):
        return None, f"expected an integer id, found {identity!r}; number the images"
    if not isinstance(name, str) or not PurePosixPath(name.replace("\\", "/")).name:
        return None, f"expected a file_name, found {name!r} (id {identity}); name the file"
    sides = [_get(entry, side) for side in ("width", "height")]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        found = " and ".join(repr(side) for side in sides)
        return None, (
            f"expected width and height in pixels, found {found} (id {identity}, {name}); add them"
        )
    # Tools on Windows write backslashes, which no file name elsewhere should have.
    return ImageEntry(identity, name.replace("\\", "/"), *sides), ""


def _get(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, Mapping) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
