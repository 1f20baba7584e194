"""`pedseg-bench suite`: everything from nothing, or from a kit, on a new machine in a budget."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.console import Command, next_commands, notes

from ..suite.packed import RESULTS, PackedResult, run_packed
from ..suite.run import run_suite
from ..suite.runner import Status
from ..suite.summary import SuiteResult
from .outcomes import tell

FILES = ("suite.json", "suite.md", "suite.html")


@click.command(cls=Command)
@click.option("--device", help="cpu, cuda or cuda:N; with --packed cuda by default.")
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for everything, an earlier run there is continued; of --packed for the results.",
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
@click.option(
    "--packed",
    "kit",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Measure with what pedseg-bench pack has put into this folder: no network, no export.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def main(
    ctx: click.Context,
    device: str | None,
    folder: Path | None,
    minutes: float,
    threads: int | None,
    artifacts: Path | None,
    kit: Path | None,
    as_json: bool,
) -> None:
    """Synthesize data, train, export, verify and measure, as far as the budget goes.

    With --packed nothing is made: the models of a kit are verified and measured. Exits with 1 if a
    step failed; steps that were dropped for want of time are no failure.
    """
    if kit is None and (device is None or folder is None):
        missing = "--device" if device is None else "--output"
        raise click.UsageError(f"Missing option '{missing}'.", ctx)
    if kit is not None and artifacts is not None:
        raise click.UsageError("--packed brings its own models: leave --artifacts out.", ctx)
    device, folder = device or "cuda", folder or Path("packed-suite")
    common: dict[str, Any] = {
        "device": device,
        "minutes": minutes,
        "threads": threads,
        "notify": lambda line: notes.print(f"\n{line}", markup=False),
        "on_outcome": tell,
    }
    result: SuiteResult | PackedResult
    if kit is None:
        result = run_suite(folder, artifacts=artifacts, **common)
    else:
        result = run_packed(kit, folder, **common)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    for name in FILES if kit is None else RESULTS:
        notes.print(f"wrote {folder / name}", markup=False)
    where = shlex.quote(str(folder))
    commands = [("read it", f"less {where}/suite.md")]
    if any(one.status is Status.DROPPED for one in result.steps):
        packed = "" if kit is None else f"--packed {shlex.quote(str(kit))} "
        again = f"pedseg-bench suite {packed}--device {device} --output {where}"
        commands.append(("go on with what was dropped", f"{again} --budget {minutes:g}"))
    next_commands(commands)
    ctx.exit(0 if result.passed else 1)
