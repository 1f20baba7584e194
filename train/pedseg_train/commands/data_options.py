"""Shared by the commands of `pedseg-data`: options, progress, and the next commands to run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.progress import Progress as Bar

from pedseg_runtime.console import Many
from pedseg_runtime.errors import InputError

from ..class_map import parse_class_map
from ..data.pennfudan_layout import Progress

FOLDER = click.Path(path_type=Path)
Function = TypeVar("Function", bound=Callable[..., Any])


def _class_map(
    _context: click.Context, _option: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    try:
        return parse_class_map(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


map_option = click.option(
    "--map",
    "class_map",
    type=Many(click.STRING),
    default=(),
    callback=_class_map,
    metavar="NAME=OTHER,...",
    help="Other names for the dataset's categories; several may become one.",
)


def dataset_options(function: Function) -> Function:
    """Add `--categories`, `--map` and `--images`, as `open_dataset` takes them."""
    for option in (
        map_option,
        click.option(
            "--images", type=FOLDER, help="Folder of a COCO file's images, if it is elsewhere."
        ),
        click.option(
            "--categories",
            type=Many(click.STRING),
            metavar="NAME,NAME",
            help="Categories to keep; all by default. Quotes keep a comma: '\"a, b\",c'.",
        ),
    ):
        function = option(function)
    return function


def reporter(bar: Bar, description: str) -> Progress:
    """A progress callback that updates a task of `bar`."""
    task = bar.add_task(description, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)


def dataset_words(
    data: Path,
    categories: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    images: Path | None = None,
) -> str:
    """`data` with its `dataset_options`, as on the command line."""
    words = [str(data)]
    if categories:
        words += ["--categories", joined(categories)]
    if class_map:
        words += ["--map", joined([f"{name}={other}" for name, other in class_map.items()])]
    if images is not None:
        words += ["--images", str(images)]
    return shlex.join(words)


def joined(names: Iterable[str]) -> str:
    """Names as one value of an option, those with a comma in quotes."""
    return ",".join(f'"{name}"' if "," in name else name for name in names)


def check_command(dataset: str) -> str:
    """The command that checks a dataset, given as `dataset_words`."""
    return f"pedseg-data check {dataset}"


def show_command(dataset: str) -> str:
    """The command that draws a contact sheet of a dataset, given as `dataset_words`."""
    return f"pedseg-data show {dataset} --output sheet.png"


def train_command(dataset: str) -> str:
    """The command that trains on a dataset, given as `dataset_words`."""
    return f"pedseg-train --data {dataset} --output runs/first"
