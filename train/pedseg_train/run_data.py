"""What a run works on: the dataset, its classes, and which pictures do what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedseg_runtime.files import sha256_of

from .data import (
    SegmentationDataset,
    Split,
    open_dataset,
    read_split,
    tutorial_split,
    write_split,
)
from .recipes import Recipe


@dataclass(frozen=True, slots=True)
class RunData:
    """A dataset as a run sees it.

    Attributes:
        root: where it lies.
        dataset: all pictures, without transforms.
        class_names: one name per label, background first.
        digest: part of the dataset -> sha256.
    """

    root: Path
    dataset: SegmentationDataset
    class_names: tuple[str, ...]
    digest: Mapping[str, str]

    @classmethod
    def open(
        cls, root: Path, *, categories: Sequence[str] = (), images: Path | None = None
    ) -> RunData:
        """Open the dataset at `root`.

        Args:
            root: a dataset of any layout.
            categories: to keep; all if there are none.
            images: folder of a COCO file's pictures, if it is elsewhere.

        Raises:
            DatasetError: it is none, or lacks a category.
        """
        dataset = open_dataset(root, categories=categories or None, images=images)
        return cls(root, dataset, dataset.class_names, dataset.digest())

    def make_split(self, recipe: Recipe, split_file: Path | None) -> Split:
        """The split that a file names, or the tutorial's."""
        if split_file is not None:
            return read_split(split_file, self.dataset)
        return tutorial_split(len(self.dataset), seed=recipe.seed, test=recipe.test)

    def write_split(self, path: Path, split: Split) -> None:
        """Write `split` by name."""
        write_split(path, split, self.dataset)

    def read_split(self, path: Path) -> Split:
        """The split that a run wrote."""
        return read_split(path, self.dataset)

    def name_of(self, image_id: int) -> str:
        """The file of a picture, for errors."""
        return str(self.dataset.path(image_id))


def choosing(split: Split) -> tuple[str, tuple[int, ...]]:
    """The part whose pictures choose the best epoch, and their positions."""
    return ("val", split.val) if split.val else ("test", split.test)


def describe_split(path: Path, split: Split, recipe: Recipe) -> dict[str, Any]:
    """What a checkpoint's header says about the split in the file `path`."""
    return {
        "seed": recipe.seed,
        "train": len(split.train),
        "val": len(split.val),
        "test": len(split.test),
        "chosen_by": choosing(split)[0],
        "sha256": sha256_of(path) if path.is_file() else "",
    }
