"""Make a random split by fractions that keeps related images in one part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pedseg_runtime.errors import DatasetError, InputError

from .splits import Split


def fraction_split(
    count: int,
    *,
    val: float = 0.1,
    test: float = 0.2,
    seed: int = 1,
    groups: Iterable[Sequence[int]] = (),
) -> Split:
    """Split `count` images at random, related ones together.

    In shuffled order, each group goes to the first of test and val with room for the whole group,
    else to train. So test and val never exceed their fraction, and single images fill the gaps
    that large groups leave.

    Args:
        count: number of images.
        val: the fraction to validate on, in 0..1.
        test: the fraction to test on, in 0..1; together with `val` below 1.
        seed: of the shuffle.
        groups: positions that must stay together, e.g. `connected_groups`; disjoint. Images
            in no group stand alone.

    Returns:
        Positions in ascending order within each part.

    Raises:
        InputError: invalid fractions.
        DatasetError: a requested part would be empty.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise InputError(
            f"fractions: expected val and test from 0 to 1 and below 1 together, found {val:g} and "
            f"{test:g}"
        )
    wanted = {"test": round(test * count), "val": round(val * count)}
    dealt: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    units = _units(count, groups)
    for place in np.random.default_rng(seed).permutation(len(units)):
        unit = units[place]
        part = next((p for p, size in wanted.items() if len(dealt[p]) + len(unit) <= size), "train")
        dealt[part].extend(unit)
    for part, fraction in (("train", 1 - val - test), ("val", val), ("test", test)):
        if fraction and not dealt[part]:
            largest = max((len(unit) for unit in units), default=0)
            raise DatasetError(
                f"expected images for {part} ({fraction:.0%} of {count}), found none left; the "
                f"largest group that must stay together has {largest}: add images, ask for "
                "another fraction, or group less"
            )
    return Split(**{part: tuple(sorted(positions)) for part, positions in dealt.items()})


def _units(count: int, groups: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """The groups and each other image alone, in order of their first position."""
    units = [tuple(group) for group in groups]
    grouped = {index for unit in units for index in unit}
    units.extend((index,) for index in range(count) if index not in grouped)
    return sorted(units)
