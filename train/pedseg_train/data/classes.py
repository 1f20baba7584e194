"""Select a dataset's categories and assign their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pedseg_runtime.console import suggestion
from pedseg_runtime.errors import DatasetError

BACKGROUND = "background"


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
            raise DatasetError(
                f"{source}: expected a category that the model knows ({wanted}), found none; "
                f"{suggestion(class_names[1] if len(class_names) > 1 else '', known)}"
            )
        return tuple(class_names), labels
    for name in categories or ():
        if name not in known:
            raise DatasetError(
                f"{source}: expected a category named {name!r}, found none; "
                f"{suggestion(name, known)}"
            )
    kept = [name for name in known if categories is None or name in categories]
    if not kept:
        raise DatasetError(f"{source}: expected at least one category, found none; name one")
    if BACKGROUND in kept:
        raise DatasetError(
            f"{source}: expected categories of things, found one named {BACKGROUND!r}, which is "
            "label 0 of every model; rename it, or select the others with --categories"
        )
    names = (BACKGROUND, *kept)
    return names, {name: label for label, name in enumerate(names) if label}
