"""The fields of a recipe as options of a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pedseg_runtime.console import Choice

from .recipes import Recipe, Setting, settings_of


class Many(click.ParamType[Any]):
    """Several values of one type, separated by commas; nothing at all is an empty tuple."""

    def __init__(self, one: click.ParamType[Any]) -> None:
        self.one = one
        self.name = f"{one.name},..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """A text -> its values; fails with the first one's complaint (exit code 2)."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",") if part.strip()]
        return tuple(self.one.convert(part, param, ctx) for part in parts)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for every described field of `Recipe`; one that is not given is None."""
    for described in reversed(settings_of(Recipe)):
        command = _option(described)(command)
    return command


def _option(described: Setting) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flag = "--" + described.name.replace("_", "-")
    if described.kind is bool:
        switch = f"{flag}/--no-{flag.removeprefix('--')}"
        return click.option(switch, described.name, default=None, help=described.help)
    kind = _type(described)
    return click.option(
        flag, described.name, type=Many(kind) if described.many else kind, help=described.help
    )


def _type(described: Setting) -> click.ParamType[Any]:
    if described.choices:
        return Choice(described.choices)
    limits = {"min": described.least, "max": described.most, "min_open": described.above}
    if described.kind is int:
        return click.INT if described.least is None else click.IntRange(**limits)  # type: ignore[arg-type]
    if described.kind is float:
        return click.FloatRange(**limits)  # type: ignore[arg-type]
    return click.STRING
