"""What all pedseg commands share: errors as one line, near-miss suggestions, progress bars.

Results go to standard output; progress, notes and errors to standard error, so that `--json`
output can be piped. Imported by the command-line modules only: a service pays nothing for it.
"""

from __future__ import annotations

import csv
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .errors import PedsegError

Item = TypeVar("Item")

if TYPE_CHECKING:  # generic for type checkers only
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

# A table that is piped somewhere has no terminal to fit into.
output = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 120)
notes = Console(stderr=True, soft_wrap=True, highlight=False)


class Command(click.Command):
    """A click command that turns a `PedsegError` or `OSError` into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors made on purpose lose their traceback, bugs keep it."""
        try:
            return super().invoke(ctx)
        except PedsegError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(_describe(error)) from error


class Group(click.Group):
    """A click group whose commands are `Command`s and which suggests the closest name."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command named by the first argument, or say which name was meant."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}; {suggestion(args[0], list(self.commands))}")
        return super().resolve_command(ctx, args)


class Choice(click.Choice[str]):
    """A choice that suggests the closest name for a misspelt one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the matching choice or fail with a suggestion (exit code 2)."""
        choices = [str(choice) for choice in self.choices]
        if value not in choices:
            self.fail(f"{value!r} is not known; {suggestion(str(value), choices)}", param, ctx)
        return str(value)


class Many(_ParamType):
    """Several values of one type, separated by commas; double quotes keep a comma in a value.

    Args:
        one: the type.
        empty: allow nothing at all, which is an empty tuple.
    """

    def __init__(self, one: click.ParamType[Any], *, empty: bool = False) -> None:
        self.one = one
        self.empty = empty
        self.name = f"{one.name},..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """A text -> its values; fails with the first one's complaint (exit code 2)."""
        if isinstance(value, tuple):
            return value
        (row,) = csv.reader([str(value)], skipinitialspace=True) if value else ([""],)
        parts = [part.strip() for part in row]
        if parts == [""] and self.empty:
            return ()
        if "" in parts:
            self.fail(f"expected values with commas between, found {value!r}", param, ctx)
        return tuple(self.one.convert(part, param, ctx) for part in parts)


def suggestion(name: str, choices: Sequence[str]) -> str:
    """The end of an error message: the closest of `choices` if any is close, and all of them."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}choose from: {', '.join(choices)}"


def progress_bar(*, disable: bool = False) -> Progress:
    """A progress bar on standard error that is hidden without a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=notes,
        transient=True,
        disable=disable or not notes.is_terminal,
    )


def track(items: Iterable[Item], description: str, *, total: int) -> Iterator[Item]:
    """Iterate over `items` behind a progress bar."""
    with progress_bar() as bar:
        yield from bar.track(items, description=description, total=total)


def next_commands(commands: Sequence[tuple[str, str]]) -> None:
    """Print what to type next: pairs of purpose and command line, to standard error."""
    notes.print("\nNext:")
    width = max(len(purpose) for purpose, _ in commands)
    for purpose, command in commands:
        notes.print(f"  {purpose:<{width}}  {command}", markup=False)


def _describe(error: OSError) -> str:
    """One line for an operating-system error: the reason, and the file it is about."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
