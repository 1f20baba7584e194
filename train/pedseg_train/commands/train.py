"""`pedseg-train`: fine-tune a Mask R-CNN on a dataset."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.console import (
    Choice,
    next_commands,
    notes,
    output,
)

from ..class_map import parse_class_map
from ..recipes import RECIPES, Recipe
from ..run.seeds import SeededRuns, train_seeds
from ..run.train import TrainedRun, train
from ..run_folder import RunFolder
from .data_options import dataset_words
from .recipe_options import RecipeCommand, recipe_options


@click.command(cls=RecipeCommand)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset folder.")
@click.option(
    "--output", "run", type=click.Path(path_type=Path), required=True, help="Folder of the run."
)
@click.option(
    "--preset",
    type=Choice([*RECIPES]),
    help="Recipe to start from: the tutorial's (if none is given), the better default, or a quick "
    "one for generated scenes.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--split-file",
    type=click.Path(path_type=Path),
    help="Which images train, validate and test, by name.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Folder of a COCO file's images, if it is elsewhere.",
)
@click.option("--resume", is_flag=True, help="Continue the run in --output.")
@click.option(
    "--save-every",
    type=click.IntRange(min=0),
    default=0,
    help="Steps between two saved states to resume from; 0 saves one after every epoch.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="Train this many times, with seeds from --seed on, and report mean and spread.",
)
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard too.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@recipe_options
def main(
    data: Path,
    run: Path,
    preset: str | None,
    device: str,
    split_file: Path | None,
    images: Path | None,
    resume: bool,
    save_every: int,
    seeds: int | None,
    tensorboard: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fine-tune a Mask R-CNN and evaluate it after every epoch.

    Settings that are not given come from the preset, or from the run that is resumed. For several
    GPUs: torchrun --nproc-per-node N -m pedseg_train.commands.train, with the same options.
    """
    overrides = {name: value for name, value in settings.items() if value is not None}
    first = run / f"seed{overrides.get('seed', _seed(preset))}" if seeds else run
    common: dict[str, Any] = {
        "data": data,
        "output": run,
        "recipe": dataclasses.replace(_base_recipe(first, preset, resume), **overrides),
        "device": device,
        "resume": resume,
        "split_file": split_file,
        "images": images,
        "save_every": save_every,
        "tensorboard": tensorboard,
        "notify": lambda line: notes.print(line, markup=False),
    }
    result = train_seeds(seeds, **common) if seeds else train(**common)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        _print_result(result)
    best = result.best if isinstance(result, SeededRuns) else result
    checkpoint, artifact = best.folder.best, best.folder.root / "model.onnx"
    words = dataset_words(data, None, parse_class_map(common["recipe"].map), images)
    file, made = shlex.quote(str(checkpoint)), shlex.quote(str(artifact))
    next_commands(
        [
            ("evaluate", f"pedseg-eval {file} --data {words}"),
            ("export", f"pedseg-export {file} --format onnx --output {made}"),
        ]
    )


def _base_recipe(run: Path, preset: str | None, resume: bool) -> Recipe:
    """The recipe before options are applied."""
    if resume and preset is None:
        return RunFolder(run).read_recipe()
    return RECIPES[preset or "tutorial"]


def _seed(preset: str | None) -> int:
    return RECIPES[preset or "tutorial"].seed


def _print_result(result: TrainedRun | SeededRuns) -> None:
    if isinstance(result, SeededRuns):
        output.print(result.table())
        output.print(f"  {result.root / 'seeds.json'}", markup=False)
        return
    best = result.best
    output.print(
        f"best epoch {best['epoch']} of {len(result.history)}, selected by the {result.chosen_by} "
        f"images: {_accuracy(best)}"
    )
    if result.chosen_by != "test":
        output.print(f"on the test images: {_accuracy(result.test)}")
    for path in (result.folder.best, result.folder.report, result.folder.curves):
        output.print(f"  {path}", markup=False)


def _accuracy(numbers: dict[str, Any]) -> str:
    if numbers["bbox"]["AP"] is None:
        return "no AP, since they have no labelled instance"
    return ", ".join(
        f"{title} AP {_shown(numbers[kind]['AP'])} (AP50 {_shown(numbers[kind]['AP50'])})"
        for title, kind in (("box", "bbox"), ("mask", "segm"))
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
