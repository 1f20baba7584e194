"""What is evaluated, and on which images: a checkpoint, an artifact or a file of results."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pedseg_runtime.errors import CheckpointError, DatasetError
from pedseg_runtime.segmenter import Segmenter

from ..checkpoint import is_checkpoint, load_checkpoint
from ..data import SegmentationDataset, read_split, tutorial_split
from ..eager import EagerSegmenter
from ..run_folder import RunFolder
from .predictions import is_predictions, read_predictions
from .recording import Recording, record

SPLIT_CHOICES = ("test", "train", "val", "all")
FROM_FILE = "a file of results"


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model, or its results in a file.

    Attributes:
        class_names: its classes, background first; None for results, which take the dataset's.
        provider: what actually runs it.
        record: makes the recording on some positions of a dataset.
    """

    class_names: tuple[str, ...] | None
    provider: str
    record: Callable[[SegmentationDataset, Sequence[int]], Recording]


@contextlib.contextmanager
def open_model(
    path: Path, *, device: str = "auto", images: Path | None = None
) -> Iterator[EvaluatedModel]:
    """Load a checkpoint, an artifact or COCO results, told apart by content.

    Args:
        path: the file.
        device: "auto", "cpu", "cuda" or "cuda:N"; for an artifact see `Segmenter.load`; results
            need none.
        images: COCO file with the image ids of results, see `read_predictions`.

    Raises:
        CheckpointError: no such file.
        PedsegError: the file is none of the three, or does not run on `device`.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; expected a checkpoint, an artifact or COCO results"
        )
    if is_checkpoint(path):
        loaded = load_checkpoint(path)
        names = loaded.header.class_names
        eager = EagerSegmenter(loaded.model, class_names=names, device=device, paste=False)
        yield EvaluatedModel(names, eager.provider, partial(record, eager, keep_going=True))
    elif is_predictions(path):
        yield EvaluatedModel(None, FROM_FILE, partial(read_predictions, path, images=images))
    else:
        with Segmenter.load(path, device=device) as segmenter:
            names = tuple(segmenter.manifest.class_names)
            record_all = partial(record, segmenter, keep_going=True)
            yield EvaluatedModel(names, segmenter.provider, record_all)


def select_images(
    model: Path,
    dataset: SegmentationDataset,
    *,
    part: str = "test",
    seed: int = 1,
    split_file: Path | None = None,
) -> tuple[tuple[int, ...], str]:
    """The images to evaluate on: a part of a split file, else of the tutorial's split.

    Args:
        model: a checkpoint, an artifact or results; the run's split.json lies beside it.
        dataset: all images.
        part: one of `SPLIT_CHOICES`.
        seed: of the tutorial's split, where there is no split file.
        split_file: used instead of the run's split.json.

    Returns:
        Positions in `dataset`, and a description of the split.

    Raises:
        DatasetError: the split names images that `dataset` lacks, its part is empty, or nothing
            can be split.
    """
    count = len(dataset.names)
    if split_file is None and part == "all" and count:
        return tuple(range(count)), "no split"  # so that the dataset may be any, not the run's own
    beside = RunFolder(model.parent).split
    file = split_file or (beside if beside.is_file() else None)
    if file is not None:
        split, origin = read_split(file, dataset), str(file)
    else:
        split = tutorial_split(count, seed=seed)
        origin = f"the tutorial's rule with seed {seed}"
    parts = {field.name: getattr(split, field.name) for field in dataclasses.fields(split)}
    parts["all"] = tuple(range(count))
    indices: tuple[int, ...] = parts.get(part, ())
    if not indices:
        known = ", ".join(name for name, positions in parts.items() if positions)
        raise DatasetError(
            f"{origin}: expected images in the part {part!r}, found none; choose from: {known}"
        )
    return indices, origin
