"""`pedseg-bench suite`: everything from nothing on a new machine, within a budget."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from pedseg_runtime.console import Command, next_commands, notes

from ..suite.run import run_suite
from ..suite.runner import Outcome, Status

STYLES = {Status.FAILED: "red", Status.DROPPED: "yellow", Status.SKIPPED: "yellow"}


@click.command(cls=Command)
@click.option("--device", required=True, help="cpu, cuda or cuda:N.")
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for everything; an earlier run there is continued.",
)
@click.option(
    "--budget",
    "minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Minutes; a step that would not fit is dropped and named.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads for every contender.")
@click.option(
    "--artifacts",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take the models of another machine's suite from its folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def main(
    ctx: click.Context,
    device: str,
    folder: Path,
    minutes: float,
    threads: int | None,
    artifacts: Path | None,
    as_json: bool,
) -> None:
    """Synthesize data, train, export, verify and measure, as far as the budget goes.

    Exits with 1 if a step failed; steps that were dropped for want of time are no failure.
    """
    result = run_suite(
        folder,
        device=device,
        minutes=minutes,
        threads=threads,
        artifacts=artifacts,
        notify=lambda line: notes.print(f"\n{line}", markup=False),
        on_outcome=_tell,
    )
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    for name in ("suite.md", "suite.html", "suite.json"):
        notes.print(f"wrote {folder / name}", markup=False)
    where = shlex.quote(str(folder))
    commands = [("read it", f"less {where}/suite.md")]
    if any(one.status is Status.DROPPED for one in result.steps):
        again = f"pedseg-bench suite --device {device} --output {where} --budget {minutes:g}"
        commands.append(("go on with what was dropped", again))
    next_commands(commands)
    ctx.exit(0 if result.passed else 1)


def _tell(outcome: Outcome) -> None:
    why = f": {outcome.reason}" if outcome.reason else ""
    output_line = f"{outcome.name}: {outcome.status} in {outcome.seconds:.0f} s{why}"
    notes.print(output_line, markup=False, style=STYLES.get(outcome.status, "green"))
