"""`pedseg-bench`: how fast, how sure, compared with what, and how close to the limit."""

from __future__ import annotations

import importlib

import click

from pedseg_runtime.console import Group, suggestion

COMMANDS = {
    "run": "Time artifacts against their checkpoint run by eager PyTorch.",
    "suite": "Everything from nothing on a new machine, within a budget.",
    "pack": "A kit for the suite on a machine without network.",
    "compare": "Say what became slower between two benchmarks; exit code 1 for a regression.",
    "profile": "List the most expensive nodes of an artifact or a checkpoint.",
}


class LazyGroup(Group):
    """A group whose commands are imported when they are used, so that help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, without importing anything."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import `commands.NAME` and take its `main`."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".commands.{cmd_name}", __package__)
        command: click.Command = module.main
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which name was meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}; {suggestion(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """The list in the help, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup)
def main() -> None:
    """Measure artifacts: no speed without the verdict on the answers beside it."""


if __name__ == "__main__":
    main()
