"""Make a split: seeded, by fractions, and never with related pictures in different parts."""

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
    """Share out `count` pictures at random, related ones together.

    Groups are dealt in shuffled order to the first of test and val that has room for the whole
    group, else to train. So the parts for measuring never exceed their share, and single pictures
    fill what large groups left open.

    Args:
        count: how many pictures there are.
        val: the fraction to validate on, in 0..1.
        test: the fraction to test on, in 0..1; together with `val` below 1.
        seed: of the shuffle.
        groups: positions that must stay together, e.g. `near_identical_groups`; disjoint. Pictures
            in none of them stand alone.

    Returns:
        Positions in ascending order within each part.

    Raises:
        InputError: fractions that make no sense.
        DatasetError: a part that was asked for would be empty.
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
                f"expected pictures for {part} ({fraction:.0%} of {count}), found none left; the "
                f"largest group that must stay together has {largest}: add pictures, ask for "
                "another fraction, or group less"
            )
    return Split(**{part: tuple(sorted(positions)) for part, positions in dealt.items()})


def _units(count: int, groups: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Every position once: the groups, and each other picture alone; in order of their first."""
    units = [tuple(group) for group in groups]
    grouped = {index for unit in units for index in unit}
    units.extend((index,) for index in range(count) if index not in grouped)
    return sorted(units)
