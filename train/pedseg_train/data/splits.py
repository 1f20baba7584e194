"""Splits of a dataset into train, val and test images: made, written by name, and read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pedseg_runtime.errors import DatasetError, InputError
from pedseg_runtime.files import write_json

from .protocol import LabelledImages

TUTORIAL_TEST = 50
SMALL_DATASET = 100
SCHEMA_VERSION = 2
PARTS = ("train", "val", "test")
_PARTS_BY_SCHEMA = {1: ("train", "test"), 2: PARTS}


@dataclass(frozen=True, slots=True)
class Split:
    """Positions in a dataset that holds all images; no image is in two parts.

    Attributes:
        train: positions to train on.
        test: positions to test on, once, at the end.
        val: positions to select the best epoch on; empty where `test` serves for both, as in the
            tutorial.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    val: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        positions = self.train + self.val + self.test
        if len(set(positions)) != len(positions):
            raise DatasetError("a split must name every image once; some are repeated")

    def parts(self) -> dict[str, tuple[int, ...]]:
        """The positions by part: "train", "val" and "test"."""
        return {part: getattr(self, part) for part in PARTS}

    def names(self, dataset: LabelledImages) -> dict[str, list[str]]:
        """The same split by name: `{"train": [...], "val": [...], "test": [...]}`."""
        return {
            part: [dataset.names[index] for index in positions]
            for part, positions in self.parts().items()
        }


def tutorial_split(count: int, *, seed: int = 1, test: int | None = None) -> Split:
    """The tutorial's split of `count` images: shuffled by `seed`, the last `test` for testing.

    The order is that of `torch.manual_seed(seed); torch.randperm(count)`, without touching the
    global generator.

    Args:
        count: number of images; at least 2.
        seed: of the shuffle.
        test: number of test images; 50 by default, a quarter if there are fewer than 100.

    Raises:
        DatasetError: no image would be left to train on.
    """
    import torch

    if test is None:
        test = TUTORIAL_TEST if count >= SMALL_DATASET else max(1, count // 4)
    if not 0 <= test < count:
        raise DatasetError(
            f"expected more images than the {test} to test on, found {count}; add images or "
            "test on fewer"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return Split(train=tuple(order[: count - test]), test=tuple(order[count - test :]))


def write_split(
    path: Path, split: Split, dataset: LabelledImages, *, made: Mapping[str, Any] | None = None
) -> None:
    """Write `split` as JSON, by name, so that it stays valid when images are added.

    Args:
        path: of the file.
        split: positions in `dataset`.
        dataset: all images.
        made: how the split was made (rule, seed, ...), JSON types; for information only.
    """
    document: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    if made is not None:
        document["made"] = dict(made)
    write_json(path, {**document, **split.names(dataset)})


def read_split(path: Path, dataset: LabelledImages) -> Split:
    """Read a split by name; other images of `dataset` are in no part.

    Files of schema 1 have no "val"; theirs is empty.

    Raises:
        DatasetError: no split file, or one with unknown or repeated names.
    """
    content = _read(path)
    positions = {name: index for index, name in enumerate(dataset.names)}
    unknown = [name for part in content.values() for name in part if name not in positions]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise DatasetError(
            f"{path}: names the image {unknown[0]!r}{more}, which the dataset lacks; was the "
            "split made for another dataset?"
        )
    _check_once(path, content)
    return Split(**{part: tuple(positions[name] for name in content[part]) for part in content})


def _check_once(path: Path, content: dict[str, list[str]]) -> None:
    seen: dict[str, str] = {}
    for part, names in content.items():
        for name in names:
            if name in seen:
                raise DatasetError(
                    f"{path}: expected every image once, found {name!r} in {seen[name]!r} and "
                    f"again in {part!r}; take it out of one"
                )
            seen[name] = part


def _read(path: Path) -> dict[str, list[str]]:
    """The names in a split file, by part."""
    expected = (
        f'expected a split file {{"schema_version": {SCHEMA_VERSION}, "train": [names], '
        '"val": [names], "test": [names]}'
    )
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: {expected}, found nothing; `pedseg-data split` makes one"
        ) from None
    except ValueError as error:
        raise DatasetError(f"{path}: {expected}, found no JSON ({error})") from error
    schema = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(schema, int) or schema not in _PARTS_BY_SCHEMA:
        raise DatasetError(f"{path}: {expected}, found another document or schema version")
    parts: dict[str, list[str]] = {part: content.get(part) for part in _PARTS_BY_SCHEMA[schema]}
    for part, names in parts.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{path}: {expected}, found no list of names under {part!r}")
    return parts


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
