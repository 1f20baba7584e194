"""`pedseg-data`: check, show, make and fetch datasets."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.progress import Progress

from pedseg_runtime import console
from pedseg_runtime.files import replacing

from . import download as downloading
from . import synthesize as synthesis
from .contact_sheet import draw_contact_sheet
from .digests import is_official
from .integrity import check_dataset
from .layout import Progress as Report
from .report import CheckReport

FOLDER = click.Path(path_type=Path)
PICTURE = click.Path(path_type=Path, dir_okay=False)
PROBLEMS_SHOWN = 20


@click.group(cls=console.Group)
def main() -> None:
    """Check, show, make and fetch datasets in the Penn-Fudan layout."""


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(folder: Path, as_json: bool) -> None:
    """Read all of FOLDER and tell what is there and what is wrong.

    Exit code 1 if there is an error, 0 if there are warnings only.
    """
    with console.progress_bar() as bar:
        report = check_dataset(folder, progress=_reporter(bar, "Reading"))
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        console.output.print(report.table())
        _print_problems(report)
    if report.errors:
        raise click.exceptions.Exit(1)
    console.next_commands([("look at it", _show(folder)), ("train on it", _train(folder))])


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--output", type=PICTURE, required=True, help="The sheet, a PNG or JPEG file.")
@click.option("--count", type=int, default=8, show_default=True, help="How many pictures.")
@click.option("--columns", type=int, default=2, show_default=True, help="How many in a row.")
def show(folder: Path, output: Path, count: int, columns: int) -> None:
    """Draw a sheet of pictures from FOLDER with their masks and boxes."""
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise click.BadParameter(
            f"expected a name that ends in .png or .jpg, found {output.name!r}",
            param_hint="--output",
        )
    sheet = draw_contact_sheet(folder, count=count, columns=columns)
    with replacing(output) as temporary:
        sheet.save(temporary)
    console.output.print(f"{output}: {sheet.width}×{sheet.height} pixels", markup=False)
    console.next_commands([("check it", f"pedseg-data check {folder}"), ("train", _train(folder))])


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--images", type=int, default=120, show_default=True, help="How many pictures.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which pictures.")
@click.option("--min-size", type=int, default=240, show_default=True, help="Least side in pixels.")
@click.option("--max-size", type=int, default=420, show_default=True, help="Greatest side.")
@click.option("--force", is_flag=True, help="Also replace a dataset that was not made here.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def synthesize(
    folder: Path,
    images: int,
    seed: int,
    min_size: int,
    max_size: int,
    force: bool,
    as_json: bool,
) -> None:
    """Draw street scenes with pedestrians into FOLDER.

    The same seed gives the same pictures. Another synthesis in FOLDER is replaced.
    """
    with console.progress_bar() as bar:
        summary = synthesis.synthesize(
            folder,
            images=images,
            seed=seed,
            min_size=min_size,
            max_size=max_size,
            force=force,
            progress=_reporter(bar, "Drawing streets"),
        )
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **summary}))
    else:
        console.output.print(
            f"{folder}: {images} pictures with {summary['instances']} people, "
            f"{summary['empty_streets']} empty streets (seed {seed})",
            markup=False,
        )
    console.next_commands([("look at it", _show(folder)), ("train on it", _train(folder))])


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--url", default=downloading.URL, show_default=True, help="Where the archive is.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Use this local archive instead.",
)
@click.option("--any-content", is_flag=True, help="Do not insist on the official pictures.")
def download(folder: Path, url: str, archive: Path | None, any_content: bool) -> None:
    """Fetch Penn-Fudan (170 photographs, 52 MB) and unpack it as FOLDER.

    The photographs may be used for research and not be passed on. An interrupted download goes on
    where it ended.
    """
    with console.progress_bar() as bar:
        report = _reporter(bar, "Fetching (kB)")
        downloading.download(
            folder,
            url=url,
            archive=archive,
            trusted=(lambda _: True) if any_content else is_official,
            progress=lambda done, total: report(done // 1000, total // 1000),
        )
    console.output.print(f"{folder}: complete", markup=False)
    console.next_commands(
        [
            ("check it", f"pedseg-data check {folder}"),
            ("look at it", _show(folder)),
            ("train on it", _train(folder)),
        ]
    )


def _reporter(bar: Progress, description: str) -> Report:
    """What moves a progress bar."""
    task = bar.add_task(description, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)


def _print_problems(report: CheckReport) -> None:
    """The worst problems, one a line, and the verdict."""
    for problem in report.problems[:PROBLEMS_SHOWN]:
        color = "red" if problem.severity == "error" else "yellow"
        console.output.print(f"[{color}]{problem.severity}[/{color}]", end=" ")
        console.output.print(f"{problem.file}: {problem.message}", markup=False)
    more = len(report.problems) - PROBLEMS_SHOWN
    if more > 0:
        console.output.print(f"and {more} more; --json lists all")
    console.output.print(report.summary(), markup=False)


def _show(folder: Path) -> str:
    return f"pedseg-data show {folder} --output sheet.png"


def _train(folder: Path) -> str:
    return f"pedseg-train --data {folder} --output runs/first"


if __name__ == "__main__":
    main()
