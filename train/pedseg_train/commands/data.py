"""`pedseg-data`: check, show, split, convert, make and fetch datasets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from pedseg_runtime import console
from pedseg_runtime.files import replacing

from ..data.check import check_dataset
from ..data.check_report import CheckReport
from ..data.contact_sheet import draw_contact_sheet
from ..data.loading import open_images
from ..data.similarity import find_leaks
from ..data.splits import read_split
from .data_options import (
    FOLDER,
    check_command,
    dataset_options,
    dataset_words,
    reporter,
    show_command,
    train_command,
)
from .data_writing import convert, download, split, synthesize

IMAGE_FILE = click.Path(path_type=Path, dir_okay=False)
PROBLEMS_SHOWN = 20


@click.group(cls=console.Group)
def main() -> None:
    """Datasets in the Penn-Fudan layout or in COCO JSON: check, show, split, convert, make, fetch.

    DATA is a folder with PNGImages and PedMasks, a COCO JSON file, or a folder that holds one.
    """


@main.command()
@click.argument("data", type=FOLDER)
@dataset_options
@click.option(
    "--split-file", type=FOLDER, help="Also look for near-identical images across its parts."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(
    data: Path,
    categories: Sequence[str] | None,
    class_map: dict[str, str],
    images: Path | None,
    split_file: Path | None,
    as_json: bool,
) -> None:
    """Read all of DATA, count it and report problems.

    Exit code 1 if there is an error, 0 if there are warnings only.
    """
    with console.progress_bar() as bar:
        report = check_dataset(
            data,
            categories=categories,
            class_map=class_map,
            images=images,
            progress=reporter(bar, "Reading"),
        )
        if split_file is not None and not report.errors:
            dataset = open_images(data, categories=categories, class_map=class_map, images=images)
            split = read_split(split_file, dataset)
            report.add_leaks(find_leaks(dataset, split, progress=reporter(bar, "Comparing images")))
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        console.output.print(report.table())
        _print_problems(report)
    if report.errors:
        raise click.exceptions.Exit(1)
    words = dataset_words(data, categories, class_map, images)
    console.next_commands(
        [("look at it", show_command(words)), ("train on it", train_command(words))]
    )


@main.command()
@click.argument("data", type=FOLDER)
@dataset_options
@click.option("--output", type=IMAGE_FILE, required=True, help="The sheet, a PNG or JPEG file.")
@click.option("--count", type=int, default=8, show_default=True, help="Number of images.")
@click.option("--columns", type=int, default=2, show_default=True, help="Images per row.")
def show(
    data: Path,
    categories: Sequence[str] | None,
    class_map: dict[str, str],
    images: Path | None,
    output: Path,
    count: int,
    columns: int,
) -> None:
    """Draw a contact sheet of images from DATA with their masks, boxes and class names."""
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise click.BadParameter(
            f"expected a name that ends in .png or .jpg, found {output.name!r}",
            param_hint="--output",
        )
    sheet = draw_contact_sheet(
        data,
        count=count,
        columns=columns,
        categories=categories,
        class_map=class_map,
        images=images,
    )
    with replacing(output) as temporary:
        sheet.save(temporary)
    console.output.print(f"{output}: {sheet.width}×{sheet.height} pixels", markup=False)
    words = dataset_words(data, categories, class_map, images)
    console.next_commands([("check it", check_command(words)), ("train", train_command(words))])


for command in (split, convert, synthesize, download):
    main.add_command(command)


def _print_problems(report: CheckReport) -> None:
    """Print the worst problems, one line for each kind, and the summary."""
    groups = report.grouped()
    for problem, alike in groups[:PROBLEMS_SHOWN]:
        more = f" (and {alike} more like it; --json lists all)" if alike else ""
        color = "red" if problem.severity == "error" else "yellow"
        console.output.print(f"[{color}]{problem.severity}[/{color}]", end=" ")
        console.output.print(f"{problem.file}: {problem.message}{more}", markup=False)
    if len(groups) > PROBLEMS_SHOWN:
        others = len(groups) - PROBLEMS_SHOWN
        console.output.print(f"and {others} more kinds of problem; --json lists all")
    console.output.print(report.summary(), markup=False)


if __name__ == "__main__":
    main()
