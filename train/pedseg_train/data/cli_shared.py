"""What the commands of `pedseg-data` share: arguments, progress, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.progress import Progress as Bar

from pedseg_runtime.console import Many

from .layout import Progress

FOLDER = click.Path(path_type=Path)
Function = TypeVar("Function", bound=Callable[..., Any])


def dataset_options(function: Function) -> Function:
    """Add `--categories` and `--images`, as `open_dataset` takes them."""
    for option in (
        click.option(
            "--images", type=FOLDER, help="Folder of a COCO file's pictures, if it is elsewhere."
        ),
        click.option(
            "--categories",
            type=Many(click.STRING),
            metavar="NAME,NAME",
            help="Categories to keep; all by default.",
        ),
    ):
        function = option(function)
    return function


def reporter(bar: Bar, description: str) -> Progress:
    """What moves a progress bar."""
    task = bar.add_task(description, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)


def check_command(data: Path) -> str:
    """How to check `data`."""
    return f"pedseg-data check {shlex.quote(str(data))}"


def show_command(data: Path) -> str:
    """How to look at `data`."""
    return f"pedseg-data show {shlex.quote(str(data))} --output sheet.png"


def train_command(data: Path) -> str:
    """How to train on `data`."""
    return f"pedseg-train --data {shlex.quote(str(data))} --output runs/first"
