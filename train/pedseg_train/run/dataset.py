"""The dataset of a run, its classes and its split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedseg_runtime.files import sha256_of

from ..data import (
    InstanceDataset,
    Split,
    open_dataset,
    read_split,
    tutorial_split,
    write_split,
)
from ..recipes import Recipe


@dataclass(frozen=True, slots=True)
class RunData:
    """A dataset as a run sees it.

    Attributes:
        root: its folder or file.
        dataset: all images, without transforms.
        class_names: one name per label, background first.
        digest: folder or file of the dataset -> sha256.
    """

    root: Path
    dataset: InstanceDataset
    class_names: tuple[str, ...]
    digest: Mapping[str, str]

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        categories: Sequence[str] = (),
        class_map: Mapping[str, str] | None = None,
        images: Path | None = None,
    ) -> RunData:
        """Open the dataset at `root`.

        Args:
            root: a dataset of any layout.
            categories: to keep; all if empty.
            class_map: other names for categories.
            images: folder of a COCO file's images, if it is elsewhere.

        Raises:
            DatasetError: no dataset, or one without a named category.
        """
        dataset = open_dataset(
            root, categories=categories or None, class_map=class_map, images=images
        )
        return cls(root, dataset, dataset.class_names, dataset.digest())

    def make_split(self, recipe: Recipe, split_file: Path | None) -> Split:
        """The split of the file if there is one, else the tutorial's."""
        if split_file is not None:
            return read_split(split_file, self.dataset)
        return tutorial_split(len(self.dataset), seed=recipe.seed, test=recipe.test)

    def write_split(self, path: Path, split: Split) -> None:
        """Write `split` by name."""
        write_split(path, split, self.dataset)

    def read_split(self, path: Path) -> Split:
        """Read what `write_split` wrote."""
        return read_split(path, self.dataset)

    def name_of(self, image_id: int) -> str:
        """The file of an image, for errors."""
        return str(self.dataset.path(image_id))


def selection_part(split: Split) -> tuple[str, tuple[int, ...]]:
    """The part whose images select the best epoch, and their positions."""
    return ("val", split.val) if split.val else ("test", split.test)


def describe_split(path: Path, split: Split, recipe: Recipe) -> dict[str, Any]:
    """The entry of a checkpoint's header about the split in the file `path`."""
    return {
        "seed": recipe.seed,
        "train": len(split.train),
        "val": len(split.val),
        "test": len(split.test),
        "chosen_by": selection_part(split)[0],
        "sha256": sha256_of(path) if path.is_file() else "",
    }
