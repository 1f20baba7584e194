"""Select a dataset's categories and assign their labels."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pedseg_runtime.console import suggestion
from pedseg_runtime.errors import DatasetError

BACKGROUND = "background"
Key = TypeVar("Key")


def renamed(
    names: Mapping[Key, str], class_map: Mapping[str, str], *, source: Path
) -> dict[Key, str]:
    """The names of categories after `class_map`, which has a dataset's name -> another.

    Raises:
        DatasetError: it renames a category that the dataset lacks.
    """
    for name in class_map:
        if name not in names.values():
            raise DatasetError(
                f"{source}: expected a category named {name!r} to map to {class_map[name]!r}, "
                f"found none; {suggestion(name, list(names.values()))}"
            )
    return {key: class_map.get(name, name) for key, name in names.items()}


def select_classes(
    source: Path,
    known: Sequence[str],
    *,
    categories: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Select classes and assign labels.

    Args:
        source: the dataset, for messages.
        known: the names of its categories, in the order of their ids.
        categories: the names to keep; all by default. Labels follow the order of `known`.
        class_names: a model's class names, background first, instead of the dataset's own: labels
            are positions in it, classes that the dataset lacks have no instances, and other
            categories are left out.

    Returns:
        The class names, background first, and the label of every category that is kept.

    Raises:
        DatasetError: an unknown category, no category, or none of the model's classes.
    """
    if class_names is not None:
        labels = {name: label for label, name in enumerate(class_names) if label and name in known}
        if not labels:
            wanted = ", ".join(class_names[1:])
            own = ", ".join(known) or "none at all"
            pair = shlex.quote(f"{known[0] if known else 'NAME'}={class_names[-1]}")
            raise DatasetError(
                f"{source}: expected a category that the model knows ({wanted}), found {own}; "
                f"say which is which: --map {pair}"
            )
        return tuple(class_names), labels
    for name in categories or ():
        if name not in known:
            raise DatasetError(
                f"{source}: expected a category named {name!r}, found none; "
                f"{suggestion(name, known)}{_comma_hint(known)}"
            )
    kept = [name for name in known if categories is None or name in categories]
    if not kept:
        raise DatasetError(f"{source}: expected at least one category, found none; name one")
    if BACKGROUND in kept:
        raise DatasetError(
            f"{source}: expected categories of things, found one named {BACKGROUND!r}, which is "
            "label 0 of every model; rename it with --map background=NAME, or select the others "
            "with --categories"
        )
    names = (BACKGROUND, *kept)
    return names, {name: label for label, name in enumerate(names) if label}


def _comma_hint(known: Sequence[str]) -> str:
    """How a name with a comma is given, if there is any."""
    name = next((name for name in known if "," in name), None)
    if name is None:
        return ""
    example = shlex.quote(f'"{name}"')
    return f"; quotes keep a comma: --categories {example}"
