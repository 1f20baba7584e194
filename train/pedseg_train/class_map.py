"""Other names for a dataset's categories, as they are given on the command line."""

from __future__ import annotations

from collections.abc import Iterable

from pedseg_runtime.errors import InputError


def parse_class_map(pairs: Iterable[str]) -> dict[str, str]:
    """`NAME=OTHER` -> {NAME: OTHER}; the last `=` of each divides it.

    Raises:
        InputError: no `=`, nothing beside it, or two names for one category.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, _, other = (part.strip() for part in pair.rpartition("="))
        if not name or not other:
            raise InputError(f"map: expected NAME=OTHER, found {pair!r}; name both")
        if found.setdefault(name, other) != other:
            raise InputError(
                f"map: expected one name for {name!r}, found {found[name]!r} and {other!r}"
            )
    return found
