"""`pedseg-data synthesize`, `download`, `split`, `convert`: the commands that write datasets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pedseg_runtime import console

from ..data import download as downloading
from ..data.conversion import Layout
from ..data.conversion import convert as convert_dataset
from ..data.digests import is_official
from ..data.loading import open_images
from ..data.protocol import LabelledImages
from ..data.similarity import (
    connected_groups,
    folder_groups,
    image_hashes,
    near_identical,
)
from ..data.splits import Split, fraction_split, tutorial_split, write_split
from ..synthetic import dataset as synthesis
from .data_options import (
    FOLDER,
    check_command,
    dataset_options,
    dataset_words,
    reporter,
    show_command,
    train_command,
)

OTHER_BOXES = {
    Layout.COCO: "COCO's boxes contain the last pixel of a mask, where the tutorial's end on it, "
    "and areas are those of masks: train and measure in one layout, their numbers differ",
    Layout.PENNFUDAN: "the tutorial's boxes end on the last pixel of a mask, where COCO's contain "
    "it, and areas are those of boxes: train and measure in one layout, their numbers differ",
}


@click.command(cls=console.Command)
@click.argument("folder", type=FOLDER)
@click.option("--images", type=int, default=120, show_default=True, help="Number of images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the images.")
@click.option(
    "--min-size", type=int, default=240, show_default=True, help="Smallest side in pixels."
)
@click.option(
    "--max-size", type=int, default=420, show_default=True, help="Largest side in pixels."
)
@click.option("--night", is_flag=True, help="Draw them after dark, under street lamps.")
@click.option("--force", is_flag=True, help="Also replace a dataset that was not synthesized.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def synthesize(
    folder: Path,
    images: int,
    seed: int,
    min_size: int,
    max_size: int,
    night: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Draw street scenes with pedestrians into FOLDER.

    The same seed gives the same images. Another synthesis in FOLDER is replaced.
    """
    with console.progress_bar() as bar:
        summary = synthesis.synthesize(
            folder,
            images=images,
            seed=seed,
            min_size=min_size,
            max_size=max_size,
            night=night,
            force=force,
            progress=reporter(bar, "Drawing streets"),
        )
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **summary}))
    else:
        console.output.print(
            f"{folder}: {images} images with {summary['instances']} people, "
            f"{summary['empty_streets']} empty streets (seed {seed})",
            markup=False,
        )
    words = dataset_words(folder)
    console.next_commands(
        [
            ("look at it", show_command(words)),
            ("train on it", train_command(words)),
        ]
    )


@click.command(cls=console.Command)
@click.argument("folder", type=FOLDER)
@click.option("--url", default=downloading.URL, show_default=True, help="Address of the archive.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Use this local archive instead.",
)
@click.option("--any-content", is_flag=True, help="Accept other content than the official images.")
def download(folder: Path, url: str, archive: Path | None, any_content: bool) -> None:
    """Fetch Penn-Fudan (170 photographs, 52 MB) and unpack it as FOLDER.

    The photographs may be used for research and not be redistributed. An interrupted download
    resumes where it ended.
    """
    with console.progress_bar() as bar:
        report = reporter(bar, "Fetching (kB)")
        downloading.download(
            folder,
            url=url,
            archive=archive,
            trusted=(lambda _: True) if any_content else is_official,
            progress=lambda done, total: report(done // 1000, total // 1000),
        )
    console.output.print(f"{folder}: complete", markup=False)
    words = dataset_words(folder)
    console.next_commands(
        [
            ("check it", check_command(words)),
            ("look at it", show_command(words)),
            ("train on it", train_command(words)),
        ]
    )


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
    class_map: dict[str, str],
    images: Path | None,
    as_json: bool,
) -> None:
    """Split the images of DATA at random and write their names to a file.

    The same seed gives the same split. Images that look the same end up in the same part.
    """
    dataset = open_images(data, categories=categories, class_map=class_map, images=images)
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
    file, words = shlex.quote(str(output)), dataset_words(data, categories, class_map, images)
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
    class_map: dict[str, str],
    images: Path | None,
    overlap: str,
    link: bool,
    as_json: bool,
) -> None:
    """Write SOURCE in another layout to the new folder TARGET.

    No pixel of a mask changes. Annotations that the layout cannot hold are counted or refused.
    """
    dataset = open_images(source, categories=categories, class_map=class_map, images=images)
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
            f"{target}: {count['images']} images with {count['instances']} instances",
            markup=False,
        )
        for line in _losses(count):
            console.output.print(f"  {line}", markup=False)
    if dataset.box_edge != (Layout(to) is Layout.COCO):
        console.notes.print(OTHER_BOXES[Layout(to)], markup=False)
    made = dataset_words(target)
    console.next_commands([("check it", check_command(made)), ("look at it", show_command(made))])


def _groups(dataset: LabelledImages, group_by: str) -> list[tuple[int, ...]]:
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
        ("renamed", "images renamed, so that the names are safe and differ on any machine"),
    ):
        if count[key]:
            yield f"{count[key]} {description}"
