"""`pedseg-data synthesize` and `download`: make or fetch a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pedseg_runtime import console

from . import download as downloading
from . import synthesize as synthesis
from .cli_shared import (
    FOLDER,
    check_command,
    dataset_words,
    reporter,
    show_command,
    train_command,
)
from .digests import is_official


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
@click.option("--force", is_flag=True, help="Also replace a dataset that was not synthesized.")
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

    The same seed gives the same images. Another synthesis in FOLDER is replaced.
    """
    with console.progress_bar() as bar:
        summary = synthesis.synthesize(
            folder,
            images=images,
            seed=seed,
            min_size=min_size,
            max_size=max_size,
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
