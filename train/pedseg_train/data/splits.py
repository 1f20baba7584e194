"""Which pictures train and which test, by position and, in files, by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pedseg_runtime.errors import DatasetError
from pedseg_runtime.files import write_json

TUTORIAL_TEST = 50
SMALL = 100
SCHEMA_VERSION = 1


class Named(Protocol):
    """Anything with one name per picture, such as a `PennFudanDataset`."""

    @property
    def names(self) -> Sequence[str]:
        """The names, in the order that positions refer to."""


@dataclass(frozen=True, slots=True)
class Split:
    """Positions in a dataset that holds all pictures.

    Attributes:
        train: positions to train on.
        test: positions to measure on; none of them is in `train`.
        val: positions to choose the best epoch by; none where `test` does that too.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    val: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        every = self.train + self.test + self.val
        if len(set(every)) != len(every):
            raise DatasetError("a split must name every picture once; some occur twice")

    def names(self, dataset: Named) -> dict[str, list[str]]:
        """The same split by name: `{"train": [...], "test": [...]}`."""
        return {
            "train": [dataset.names[index] for index in self.train],
            "test": [dataset.names[index] for index in self.test],
        }


def tutorial_split(count: int, *, seed: int = 1, test: int | None = None) -> Split:
    """The tutorial's split of `count` pictures: shuffled by `seed`, the last `test` for testing.

    The order is that of `torch.manual_seed(seed); torch.randperm(count)`, without touching the
    global generator.

    Args:
        count: how many pictures there are; at least 2.
        seed: of the shuffle.
        test: how many pictures to test on; 50 by default, a quarter if there are fewer than 100.

    Raises:
        DatasetError: nothing would be left to train on.
    """
    if test is None:
        test = TUTORIAL_TEST if count >= SMALL else max(1, count // 4)
    if not 0 <= test < count:
        raise DatasetError(
            f"expected more pictures than the {test} to test on, found {count}; add pictures or "
            "test on fewer"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return Split(train=tuple(order[: count - test]), test=tuple(order[count - test :]))


def write_split(path: Path, split: Split, dataset: Named) -> None:
    """Write `split` as JSON, by name, so that it survives pictures being added."""
    write_json(path, {"schema_version": SCHEMA_VERSION, **split.names(dataset)})


def read_split(path: Path, dataset: Named) -> Split:
    """Read a split by name; pictures of `dataset` that it does not name are in neither part.

    Raises:
        DatasetError: no split file, or one that names pictures which `dataset` lacks.
    """
    content = _read(path)
    positions = {name: index for index, name in enumerate(dataset.names)}
    unknown = [name for part in content.values() for name in part if name not in positions]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise DatasetError(
            f"{path}: names the picture {unknown[0]!r}{more}, which the dataset lacks; was the "
            "split made for another dataset?"
        )
    parts = {part: tuple(positions[name] for name in names) for part, names in content.items()}
    return Split(train=parts["train"], test=parts["test"])


def _read(path: Path) -> dict[str, list[str]]:
    """The lists "train" and "test" of a split file."""
    expected = (
        f'expected a split file {{"schema_version": {SCHEMA_VERSION}, "train": [names], '
        '"test": [names]}'
    )
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: {expected}, found nothing") from None
    except ValueError as error:
        raise DatasetError(f"{path}: {expected}, found no JSON ({error})") from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise DatasetError(f"{path}: {expected}, found another document or schema version")
    parts = {part: content.get(part) for part in ("train", "test")}
    for part, names in parts.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{path}: {expected}, found no list of names under {part!r}")
    return parts  # type: ignore[return-value]  # just checked
