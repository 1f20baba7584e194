"""`python -m pedseg_benchmarks.training`: the engine against the reference loop, step by step."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import torch

from pedseg_runtime.console import notes, output
from pedseg_runtime.errors import PedsegError
from pedseg_runtime.files import write_json
from pedseg_train.commands.recipe_options import RecipeCommand, recipe_options
from pedseg_train.eager import resolve_device
from pedseg_train.models import build_for
from pedseg_train.recipes import RECIPES
from pedseg_train.run.dataset import RunData

from ..environment import fingerprint, torch_threads
from .race import Race, race


@click.command(cls=RecipeCommand)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset folder.")
@click.option("--steps", type=click.IntRange(min=1), default=20, show_default=True, help="Timed.")
@click.option(
    "--warmup-steps", type=click.IntRange(min=0), default=2, show_default=True, help="Not timed."
)
@click.option("--threads", type=click.IntRange(min=1), help="Of torch; all cores without it.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--output", "file", type=click.Path(path_type=Path), help="Also write it there.")
@recipe_options
def main(
    data: Path,
    steps: int,
    warmup_steps: int,
    threads: int | None,
    device: str,
    as_json: bool,
    file: Path | None,
    **settings: Any,
) -> None:
    """Race pedseg's engine against the tutorial's loop: same weights, images, flips and boxes.

    Settings are the tutorial's unless given. Both train in one process and in turns; the losses are
    compared, and a difference fails.
    """
    chosen = {name: value for name, value in settings.items() if value is not None}
    recipe = dataclasses.replace(RECIPES["tutorial"], **{"workers": 0, **chosen})
    opened = RunData.open(data, categories=recipe.categories)
    torch.manual_seed(recipe.seed)
    model = build_for(
        recipe,
        class_names=opened.class_names,
        notify=lambda line: notes.print(line, markup=False),
    )
    indices = opened.make_split(recipe, None).train
    usable = indices[: len(indices) // recipe.batch_size * recipe.batch_size]
    with torch_threads(threads or torch.get_num_threads()):
        result = race(
            model,
            opened.dataset,
            usable,
            recipe=recipe,
            device=resolve_device(device),
            steps=steps,
            warmup=warmup_steps,
        )
        document = {
            "recipe": recipe.to_dict(),
            "environment": fingerprint(threads=torch.get_num_threads()),
            **result.to_dict(),
        }
    _report(result, document, as_json=as_json, file=file)


def _report(result: Race, document: dict[str, Any], *, as_json: bool, file: Path | None) -> None:
    if file is not None:
        write_json(file, document)
    if as_json:
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        output.print(result.table())
    if not result.agreement:
        raise PedsegError(f"{result.agreement}; the times compare unlike things")


if __name__ == "__main__":
    main()
