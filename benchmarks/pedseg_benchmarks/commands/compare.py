"""`pedseg-bench compare`: did anything become slower, and is that more than noise?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from pedseg_runtime.console import Choice, Command, next_commands, output
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing

from ..comparison import compare
from ..comparison.compare import ABSOLUTE, RELATIVE
from ..report.comparison import answer, comparison_grid, comparison_markdown, remarks
from ..report.terminal import Fitting
from ..results import BenchmarkResult

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class Share(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """A share of one: `5%` or `0.05`. A bare `5` could be either and is refused."""

    name = "percent"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The share as a number."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            self.fail(f"expected a share like 5% or 0.05, found {value!r}", param, ctx)
        return share


@click.command(cls=Command)
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option(
    "--threshold",
    type=Share(),
    default="5%",
    show_default=True,
    help="A regression is slower by more than that, with its whole 95 % interval.",
)
@click.option(
    "--judge-by",
    type=Choice([RELATIVE, ABSOLUTE]),
    help="Times in units of eager's, which the machine's speed does not touch, or as they are.  "
    "[default: relative if both have eager]",
)
@click.option(
    "--allow-mismatch",
    is_flag=True,
    help="Compare although machine, threads, images or settings differ.",
)
@click.option(
    "--markdown", "page", type=click.Path(path_type=Path), help="Write the comparison here too."
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.pass_context
def main(
    ctx: click.Context,
    old: Path,
    new: Path,
    threshold: float,
    judge_by: str | None,
    allow_mismatch: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """Compare the benchmark NEW with OLD, both JSON files that pedseg-bench wrote.

    The exit code is 1 if a contender became slower beyond the threshold, or if one that gave right
    answers gives wrong ones now.
    """
    found = compare(
        read_result(old),
        read_result(new),
        threshold=threshold,
        judge_by=judge_by,
        allow_mismatch=allow_mismatch,
    )
    if page is not None:
        with replacing(page) as temporary:
            temporary.write_text(comparison_markdown(found), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        output.print(Fitting(comparison_grid(found)))
        for line in (*remarks(found), answer(found)):
            output.print(line, markup=False)
    if not found.passed:
        next_commands([("find what costs most", "pedseg-bench profile ARTIFACT --image IMAGE")])
    ctx.exit(0 if found.passed else 1)


def read_result(path: Path) -> BenchmarkResult:
    """Read a benchmark.

    Raises:
        InputError: the file is no JSON, or not what pedseg-bench wrote.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path}: expected JSON that pedseg-bench wrote, found {error}; measure again"
        ) from error
    if not isinstance(values, dict):
        raise InputError(
            f"{path}: expected JSON that pedseg-bench wrote, found {type(values).__name__}; "
            "use the file of --output"
        )
    try:
        return BenchmarkResult.from_dict(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
