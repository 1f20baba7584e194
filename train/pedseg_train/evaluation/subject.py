"""What is measured, and on which pictures: a checkpoint, an artifact or a file of results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pedseg_runtime.contents import read_contents
from pedseg_runtime.errors import CheckpointError, DatasetError
from pedseg_runtime.segmenter import Segmenter

from ..checkpoint import is_checkpoint, load_checkpoint, read_header
from ..data import SegmentationDataset, read_split, tutorial_split
from ..eager import EagerSegmenter
from ..run_folder import RunFolder
from .predictions import is_predictions, read_predictions
from .recording import Recording, record

PARTS = ("test", "train", "val", "all")
FROM_FILE = "a file of results"


def classes_of(path: Path) -> tuple[str, ...] | None:
    """The class names of a checkpoint or an artifact; None for results, which bring their own.

    Raises:
        CheckpointError: no such file.
        PedsegError: none of the three.
    """
    _check_file(path)
    if is_checkpoint(path):
        return read_header(path).class_names
    return None if is_predictions(path) else read_contents(path).manifest.class_names


def record_subject(
    path: Path,
    dataset: SegmentationDataset,
    indices: Sequence[int],
    *,
    device: str = "auto",
    images: Path | None = None,
) -> tuple[Recording, str]:
    """Run a checkpoint or an artifact on labelled pictures, or read what one has found on them.

    Args:
        path: a checkpoint, an artifact or COCO results; told apart by content, not by name.
        dataset: all pictures, without transforms.
        indices: the positions in it to measure on.
        device: "auto", "cpu", "cuda" or "cuda:N"; results need none.
        images: what the ids in a file of results mean, see `read_predictions`.

    Returns:
        What was found, and what ran it.

    Raises:
        CheckpointError: no such file.
        PedsegError: none of the three, or it does not run on `device`.
    """
    _check_file(path)
    if is_checkpoint(path):
        loaded = load_checkpoint(path)
        eager = EagerSegmenter(
            loaded.model, class_names=loaded.header.class_names, device=device, paste=False
        )
        return record(eager, dataset, indices), eager.provider
    if is_predictions(path):
        return read_predictions(path, dataset, indices, images=images), FROM_FILE
    with Segmenter.load(path, device=device) as segmenter:
        return record(segmenter, dataset, indices), segmenter.provider


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; expected a checkpoint, an artifact or COCO results"
        )


def choose_pictures(
    model: Path,
    dataset: SegmentationDataset,
    *,
    part: str = "test",
    seed: int = 1,
    split_file: Path | None = None,
) -> tuple[tuple[int, ...], str]:
    """The pictures to measure on: a part of a split file, else of the tutorial's split.

    Args:
        model: a checkpoint, an artifact or results; the run's split.json lies beside it.
        dataset: all pictures.
        part: a name of `PARTS`.
        seed: of the tutorial's split.
        split_file: another split than that of the run.

    Returns:
        Positions in `dataset`, and in words where the split came from.

    Raises:
        DatasetError: the split names pictures that `dataset` lacks, its part is empty, or nothing
            can be split.
    """
    beside = RunFolder(model.parent).split
    file = split_file or (beside if beside.is_file() else None)
    if file is not None:
        split, origin = read_split(file, dataset), str(file)
    else:
        split = tutorial_split(len(dataset), seed=seed)
        origin = f"the tutorial's rule with seed {seed}"
    parts = {field.name: getattr(split, field.name) for field in dataclasses.fields(split)}
    parts["all"] = tuple(range(len(dataset)))
    indices: tuple[int, ...] = parts.get(part, ())
    if not indices:
        known = ", ".join(name for name, positions in parts.items() if positions)
        raise DatasetError(
            f"{origin}: expected pictures in the part {part!r}, found none; choose from: {known}"
        )
    return indices, origin
