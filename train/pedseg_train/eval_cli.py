"""`pedseg-eval`: COCO accuracy of a checkpoint or an artifact, by the same path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.console import Choice, Command, notes, output
from pedseg_runtime.errors import CheckpointError
from pedseg_runtime.files import write_json
from pedseg_runtime.segmenter import Segmenter

from .checkpoint import is_checkpoint, load_checkpoint
from .data import SegmentationDataset, open_dataset, read_split, tutorial_split
from .eager import EagerSegmenter
from .evaluation import CocoResult, evaluate
from .run_folder import RunFolder

PARTS = ("test", "val", "train", "all")


@click.command(cls=Command)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset folder.")
@click.option(
    "--split",
    "part",
    type=Choice(PARTS),
    default="test",
    show_default=True,
    help="Which pictures: those of the run's split.json if it lies beside MODEL, "
    "else of the tutorial's split.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the tutorial's split.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--output", "file", type=click.Path(path_type=Path), help="Also write the JSON to this file."
)
def main(
    model: Path, data: Path, part: str, seed: int, device: str, as_json: bool, file: Path | None
) -> None:
    """Measure MODEL, a checkpoint or an exported artifact, on a dataset."""
    result, facts = evaluate_file(model, data=data, part=part, seed=seed, device=device)
    document = {**facts, **result.to_dict()}
    if file is not None:
        write_json(file, document)
    if as_json:
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        output.print(result.table())
    notes.print(
        f"{facts['part']} pictures by {facts['split']}, run by {facts['provider']}", markup=False
    )


def evaluate_file(
    model: Path, *, data: Path, part: str = "test", seed: int = 1, device: str = "auto"
) -> tuple[CocoResult, dict[str, Any]]:
    """Evaluate a checkpoint or an artifact on one part of a dataset.

    Args:
        model: told apart by content, not by name.
        data: a dataset of any layout, see `open_dataset`; its classes are matched by name.
        part: "test", "val", "train" or "all" pictures.
        seed: of the tutorial's split, where no run's split.json lies beside `model`.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The accuracy, and facts about how it came about, as JSON types.
    """
    if not model.is_file():
        raise CheckpointError(f"{model}: no such file; expected a checkpoint or an artifact")
    if is_checkpoint(model):
        loaded = load_checkpoint(model)
        eager = EagerSegmenter(loaded.model, class_names=loaded.header.class_names, device=device)
        dataset = open_dataset(data, class_names=eager.class_names)
        indices, origin = choose_pictures(model, dataset, part=part, seed=seed)
        result, provider = evaluate(eager, dataset, indices), eager.provider
    else:
        with Segmenter.load(model, device=device) as segmenter:
            dataset = open_dataset(data, class_names=segmenter.manifest.class_names)
            indices, origin = choose_pictures(model, dataset, part=part, seed=seed)
            result, provider = evaluate(segmenter, dataset, indices), segmenter.provider
    return result, {"model": str(model), "provider": provider, "part": part, "split": origin}


def choose_pictures(
    model: Path, dataset: SegmentationDataset, *, part: str = "test", seed: int = 1
) -> tuple[tuple[int, ...], str]:
    """The pictures to measure on: a part of the run's split.json, else of the tutorial's split.

    Args:
        model: a checkpoint or artifact; the run's split.json lies beside it.
        dataset: all pictures.
        part: "test", "val", "train" or "all".
        seed: of the tutorial's split.

    Returns:
        Positions in `dataset`, and in words where the split came from.

    Raises:
        DatasetError: the split names pictures that `dataset` lacks, or nothing can be split.
    """
    beside = RunFolder(model.parent).split
    if beside.is_file():
        split, origin = read_split(beside, dataset), str(beside)
    else:
        split = tutorial_split(len(dataset), seed=seed)
        origin = f"the tutorial's rule with seed {seed}"
    parts = {**split.parts(), "all": tuple(range(len(dataset)))}
    return parts[part], origin


if __name__ == "__main__":
    main()
