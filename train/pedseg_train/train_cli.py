"""`pedseg-train`: fine-tune a Mask R-CNN on a dataset in the Penn-Fudan layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.console import Choice, Command, next_commands, notes, output

from .architectures import ARCHITECTURES
from .recipes import RECIPES, Recipe
from .run import TrainedRun, train
from .run_folder import RunFolder


@click.command(cls=Command)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset folder.")
@click.option(
    "--output", "run", type=click.Path(path_type=Path), required=True, help="Folder of the run."
)
@click.option(
    "--preset",
    type=Choice([*RECIPES]),
    help="Recipe to start from: the tutorial's (default), or a quick one for generated scenes.",
)
@click.option("--architecture", type=Choice([*ARCHITECTURES]), help="Network to train.")
@click.option("--weights", help='Starting weights: "coco", "imagenet", "none" or a file.')
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training pictures.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Pictures per step.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Learning rate.")
@click.option("--momentum", type=click.FloatRange(0, 1), help="Momentum of SGD.")
@click.option("--weight-decay", type=click.FloatRange(min=0), help="Weight decay.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that load pictures.")
@click.option("--min-size", type=click.IntRange(min=32), help="Shorter image side in pixels.")
@click.option("--max-size", type=click.IntRange(min=32), help="Limit of the longer side in pixels.")
@click.option("--box-batch", type=click.IntRange(min=1), help="Boxes per image to train on.")
@click.option("--proposals", type=click.IntRange(min=1), help="Proposals per image in training.")
@click.option("--test", type=click.IntRange(min=1), help="Number of test pictures.")
@click.option("--seed", type=int, help="Of weights, split, order and flips.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--resume", is_flag=True, help="Continue the run in --output.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def main(
    data: Path,
    run: Path,
    preset: str | None,
    device: str,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fine-tune a Mask R-CNN and measure it after every epoch.

    Settings that are not given come from the preset, or from the run that is resumed.
    """
    overrides = {name: value for name, value in settings.items() if value is not None}
    try:
        trained = train(
            data=data,
            output=run,
            recipe=dataclasses.replace(_base_recipe(run, preset, resume), **overrides),
            device=device,
            resume=resume,
            notify=lambda line: notes.print(line, markup=False),
        )
    except KeyboardInterrupt:
        notes.print(
            f"\nstopped; finished epochs are kept, to continue: "
            f"pedseg-train --data {data} --output {run} --resume",
            markup=False,
        )
        raise
    if as_json:
        click.echo(json.dumps(trained.to_dict(), indent=2, allow_nan=False))
    else:
        _print_result(trained)
    next_commands(
        [
            ("evaluate", f"pedseg-eval {trained.folder.best} --data {data}"),
            (
                "export",
                f"pedseg-export {trained.folder.best} --format onnx --output {run / 'model.onnx'}",
            ),
        ]
    )


def _base_recipe(run: Path, preset: str | None, resume: bool) -> Recipe:
    """The recipe that options are applied to."""
    if resume and preset is None:
        return RunFolder(run).read_recipe()
    return RECIPES[preset or "tutorial"]


def _print_result(trained: TrainedRun) -> None:
    best = trained.best
    output.print(
        f"best epoch {best['epoch']} of {len(trained.history)}: "
        + ", ".join(
            f"{title} AP {best[kind]['AP'] or 0:.3f} (AP50 {best[kind]['AP50'] or 0:.3f})"
            for title, kind in (("box", "bbox"), ("mask", "segm"))
        )
    )
    for path in (trained.folder.best, trained.folder.curves, trained.folder.panel):
        output.print(f"  {path}", markup=False)


if __name__ == "__main__":
    main()
