"""The fields of a recipe as command-line options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pedseg_runtime.console import Choice, Command, Many

from ..recipes import Recipe, Setting, settings_of


class RecipeCommand(Command):
    """A command whose help lists the recipe's options by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then one section per group."""
        groups = {described.name: described.group for described in settings_of(Recipe)}
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                group = groups.get(parameter.name or "")
                title = f"Recipe, {group}" if group else "Options"
                sections.setdefault(title, []).append(record)
        for title in sorted(sections, key=lambda title: title != "Options"):
            with formatter.section(title):
                formatter.write_dl(sections[title])


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
    if not described.many:
        return click.option(flag, described.name, type=kind, help=described.help)
    choices = f" Of {', '.join(described.choices)}." if described.choices else ""
    return click.option(
        flag,
        described.name,
        type=Many(kind, empty=True),
        help=described.help + choices,
        metavar="A,B,...",
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
