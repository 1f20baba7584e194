"""`pedseg-bench run`: artifacts and other ways to run a checkpoint, against eager PyTorch."""

from __future__ import annotations

import inspect
import json
import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pedseg_runtime.console import Command, next_commands, notes, output
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing, write_json

from ..bench import benchmark
from ..contenders.roster import OPTIONAL, parse_contenders
from ..material import Labelled
from ..report import details, html, markdown, sections, table
from ..results import BenchmarkResult
from .asking import asking, read_questions

PIPE_WIDTH = 140
ASKING = tuple(inspect.signature(read_questions).parameters)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def _names(text: str) -> tuple[str, ...]:
    """Names of contenders; one that is unknown is a usage error."""
    try:
        return OPTIONAL if text.strip() == "all" else parse_contenders(text)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


@click.command(cls=Command)
@click.argument("checkpoint", type=FILE)
@click.argument("artifacts", type=FILE, nargs=-1)
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="An image or a folder of images; use real ones with people on them.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N, for all.")
@click.option(
    "--contenders",
    "optional",
    default="",
    callback=lambda _ctx, _parameter, text: _names(text),
    metavar="NAME,...",
    help=f"Others beside eager and the artifacts: {', '.join(OPTIONAL)}, or all.",
)
@click.option("--warmup", default=3, show_default=True, help="Untimed calls per image size.")
@click.option("--rounds", default=20, show_default=True, help="Most timed calls per image.")
@click.option(
    "--stability",
    type=click.FloatRange(min=0),
    help="Stop early when three windows of rounds agree within so many percent.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Use so many images, evenly spaced over the folder.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads for every contender.  [default: torch's]",
)
@click.option(
    "--paste/--no-paste",
    default=True,
    show_default=True,
    help="Whether artifacts paste their masks into image pixels too, as eager always does.",
)
@click.option("--isolate", is_flag=True, help="Give every contender a process of its own.")
@click.option("--allow-mismatch", is_flag=True, help="Accept artifacts of another checkpoint.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="Labelled images: AP of every contender, which also judges lower precisions.",
)
@click.option("--data-images", type=FILE, help="Folder of their pictures, if it is elsewhere.")
@click.option("--data-limit", type=click.IntRange(min=1), help="At most so many of them.")
@click.option(
    "--max-ap-drop",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Points of AP that a lower precision may lose on --data.",
)
@asking
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep torchvision's own export here.  [default: beside --output]",
)
@click.option(
    "--output", "file", type=click.Path(path_type=Path), help="Write the result as JSON here."
)
@click.option(
    "--markdown", "page", type=click.Path(path_type=Path), help="Write the result as Markdown here."
)
@click.option(
    "--html", "web_page", type=click.Path(path_type=Path), help="And as a page with plots."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def main(
    ctx: click.Context,
    /,
    checkpoint: Path,
    artifacts: tuple[Path, ...],
    images: Path,
    data: Path | None,
    data_images: Path | None,
    data_limit: int | None,
    max_ap_drop: float,
    cache: Path | None,
    file: Path | None,
    page: Path | None,
    web_page: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Time ARTIFACTS against CHECKPOINT run by eager PyTorch, on the same images.

    Every contender's answers are first compared with eager's; one that is wrong is reported as
    failed, never as a speed, and the exit code is 1.
    """
    questions = read_questions(**{name: options.pop(name) for name in ASKING})
    labelled = None
    if data is not None:
        labelled = Labelled(data=data, limit=data_limit, max_drop=max_ap_drop, images=data_images)
    result = benchmark(
        checkpoint,
        artifacts,
        images=images,
        labelled=labelled,
        questions=questions,
        cache=cache or (file.parent / "stock" if file is not None else None),
        **options,
    )
    if file is not None:
        write_json(file, result.to_dict())
    for path, render in ((page, markdown), (web_page, html)):
        if path is not None:
            with replacing(path) as temporary:
                temporary.write_text(render(result), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        show(result)
    say_what_next(checkpoint, artifacts, images, result)
    ctx.exit(0 if result.passed else 1)


def show(result: BenchmarkResult) -> None:
    """The result for a terminal."""
    # Where nobody watches, rich assumes 80 columns and would break the words.
    wide = output if output.is_terminal else Console(width=PIPE_WIDTH)
    wide.print(table(result))
    for line in details(result):
        output.print(line, markup=False)
    for grid in sections(result):
        wide.print(grid)


def say_what_next(
    checkpoint: Path, artifacts: tuple[Path, ...], images: Path, result: BenchmarkResult
) -> None:
    """Commands to go on with: use an artifact, or find out what is wrong with one."""
    truth, folder = shlex.quote(str(checkpoint)), shlex.quote(str(images))
    first = shlex.quote(str(artifacts[0])) if artifacts else "ARTIFACT"
    for missing in result.not_run:
        notes.print(f"not run: {missing.name}: {missing.reason}", markup=False, style="yellow")
    if not result.passed:
        failed = ", ".join(row.name for row in result.contenders if not row.passed)
        notes.print(f"wrong answers, so not timed: {failed}", markup=False, style="red")
        commands = [
            ("see what differs", f"pedseg-verify ARTIFACT --checkpoint {truth} --images {folder}")
        ]
    elif artifacts:
        commands = [
            ("segment images", f"pedseg-predict {first} {folder}"),
            ("measure accuracy", f"pedseg-eval {first} --data DATASET"),
        ]
    else:
        commands = [("export", f"pedseg-export {truth}")]
    next_commands(commands)
