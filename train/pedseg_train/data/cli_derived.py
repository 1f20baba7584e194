"""`pedseg-data split` and `convert`: write a split or another layout of a dataset."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pedseg_runtime import console

from .cli_shared import (
    FOLDER,
    check_command,
    dataset_options,
    dataset_words,
    reporter,
    show_command,
    train_command,
)
from .conversion import Layout
from .conversion import convert as convert_dataset
from .opening import open_pictures
from .protocol import LabelledPictures
from .similarity import connected_groups, folder_groups, image_hashes, near_identical
from .splits import Split, tutorial_split, write_split
from .splitting import fraction_split

GROUPINGS = ("near-identical", "folder", "none")
_NOT_FOR_TUTORIAL = ("val", "test", "group_by")


@click.command(cls=console.Command)
@click.argument("data", type=FOLDER)
@click.option("--output", type=FOLDER, required=True, help="The split file to write.")
@click.option("--val", type=float, default=0.1, show_default=True, help="Fraction to validate on.")
@click.option("--test", type=float, default=0.2, show_default=True, help="Fraction to test on.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the shuffle.")
@click.option(
    "--group-by",
    type=console.Choice(GROUPINGS),
    default="near-identical",
    show_default=True,
    help="Images that stay together: those that look the same, or those of one folder.",
)
@click.option("--tutorial", is_flag=True, help="Make the split of torchvision's tutorial instead.")
@dataset_options
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@click.pass_context
def split(
    context: click.Context,
    data: Path,
    output: Path,
    val: float,
    test: float,
    seed: int,
    group_by: str,
    tutorial: bool,
    categories: Sequence[str] | None,
    images: Path | None,
    as_json: bool,
) -> None:
    """Split the images of DATA at random and write their names to a file.

    The same seed gives the same split. Images that look the same end up in the same part.
    """
    dataset = open_pictures(data, categories=categories, images=images)
    made: dict[str, Any] = {"seed": seed}
    if tutorial:
        for name in _NOT_FOR_TUTORIAL:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} has no place with --tutorial")
        parts = tutorial_split(len(dataset), seed=seed)
        made |= {"rule": "tutorial"}
    else:
        groups = _groups(dataset, group_by)
        parts = fraction_split(len(dataset), val=val, test=test, seed=seed, groups=groups)
        together = [len(group) for group in groups if len(group) > 1]
        made |= {"rule": "fractions", "val": val, "test": test, "group_by": group_by}
        made |= {"groups": len(together), "grouped": sum(together)}
    write_split(output, parts, dataset, made=made)
    if as_json:
        click.echo(json.dumps(_summary(output, parts, made)))
    else:
        console.output.print(_describe(output, parts, made), markup=False)
    file, words = shlex.quote(str(output)), dataset_words(data, categories, images)
    console.next_commands(
        [
            ("check it", f"{check_command(words)} --split-file {file}"),
            ("train by it", f"{train_command(words)} --split-file {file}"),
        ]
    )


@click.command(cls=console.Command)
@click.argument("source", type=FOLDER)
@click.argument("target", type=FOLDER)
@click.option("--to", type=console.Choice([*Layout]), required=True, help="The layout to write.")
@dataset_options
@click.option(
    "--overlap",
    type=console.Choice(["refuse", "first"]),
    default="refuse",
    show_default=True,
    help="Overlapping instances, which Penn-Fudan masks cannot hold.",
)
@click.option("--link", is_flag=True, help="Link to the images instead of copying them.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def convert(
    source: Path,
    target: Path,
    to: str,
    categories: Sequence[str] | None,
    images: Path | None,
    overlap: str,
    link: bool,
    as_json: bool,
) -> None:
    """Write SOURCE in another layout to the new folder TARGET.

    No pixel of a mask changes. Annotations that the layout cannot hold are counted or refused.
    """
    dataset = open_pictures(source, categories=categories, images=images)
    with console.progress_bar() as bar:
        count = convert_dataset(
            dataset,
            target,
            to=Layout(to),
            overlap=overlap == "first",
            link=link,
            progress=reporter(bar, "Converting"),
        )
    if as_json:
        click.echo(json.dumps({"target": str(target), **count}))
    else:
        console.output.print(
            f"{target}: {count['pictures']} images with {count['instances']} instances",
            markup=False,
        )
        for line in _losses(count):
            console.output.print(f"  {line}", markup=False)
    made = dataset_words(target)
    console.next_commands([("check it", check_command(made)), ("look at it", show_command(made))])


def _groups(dataset: LabelledPictures, group_by: str) -> list[tuple[int, ...]]:
    """The groups of positions that must stay together."""
    if group_by == "none":
        return []
    if group_by == "folder":
        return folder_groups(dataset.names)
    with console.progress_bar() as bar:
        hashes = image_hashes(dataset, progress=reporter(bar, "Comparing images"))
    return connected_groups(near_identical(hashes))


def _summary(output: Path, parts: Split, made: dict[str, Any]) -> dict[str, Any]:
    sizes = {part: len(positions) for part, positions in parts.parts().items()}
    return {"file": str(output), **sizes, "made": made}


def _describe(output: Path, parts: Split, made: dict[str, Any]) -> str:
    sizes = ", ".join(f"{len(positions)} {part}" for part, positions in parts.parts().items())
    groups = made.get("groups", 0)
    together = f"; {made['grouped']} images in {groups} groups kept together" if groups else ""
    return f"{output}: {sizes} (seed {made['seed']}){together}"


def _losses(count: dict[str, int]) -> Iterable[str]:
    """Lines on the annotations that the new layout lacks."""
    for key, description in (
        ("crowds", "crowd regions left out"),
        ("overlapping", "instances lost pixels to an earlier one"),
        ("hidden", "hidden instances left out"),
        ("unusable", "annotations left out that have no mask; `pedseg-data check` names them"),
        ("reencoded", "images written as PNG, since the layout has no other format"),
    ):
        if count[key]:
            yield f"{count[key]} {description}"
