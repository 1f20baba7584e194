"""`pedseg-data`: check, show, make and fetch datasets."""

from __future__ import annotations

import json
from pathlib import Path

import click
from pedseg_runtime import console

from . import synthesize as synthesis

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(cls=console.Group)
def main() -> None:
    """Check, show, make and fetch datasets in the Penn-Fudan layout."""


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
    """Draw street scenes with pedestrians into FOLDER."""
    with console.progress_bar() as bar:
        task = bar.add_task("Drawing streets", total=images)
        summary = synthesis.synthesize(
            folder,
            images=images,
            seed=seed,
            min_size=min_size,
            max_size=max_size,
            force=force,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **summary}))
    else:
        console.output.print(
            f"{folder}: {images} pictures with {summary['instances']} people, "
            f"{summary['empty_streets']} empty streets (seed {seed})",
            markup=False,
        )
    console.next_commands(
        [
            ("look at it", f"pedseg-data show {folder} --output sheet.png"),
            ("train on it", f"pedseg-train {folder}"),
        ]
    )


if __name__ == "__main__":
    main()
