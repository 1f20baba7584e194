"""`pedseg-bench`: how fast artifacts are against eager PyTorch, parity beside every number."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
from rich.console import Console

from pedseg_runtime.console import Command, next_commands, notes, output
from pedseg_runtime.files import replacing, write_json

from .bench import benchmark
from .report import details, markdown, table
from .results import BenchmarkResult

PIPE_WIDTH = 140
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(cls=Command)
@click.argument("checkpoint", type=FILE)
@click.argument("artifacts", type=FILE, nargs=-1, required=True)
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="An image or a folder of images; use real ones with people on them.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N, for all.")
@click.option("--warmup", default=3, show_default=True, help="Untimed calls per image size.")
@click.option("--rounds", default=20, show_default=True, help="Timed calls per image.")
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
@click.option("--allow-mismatch", is_flag=True, help="Accept artifacts of another checkpoint.")
@click.option(
    "--output", "file", type=click.Path(path_type=Path), help="Write the result as JSON here."
)
@click.option(
    "--markdown", "page", type=click.Path(path_type=Path), help="Write the result as Markdown here."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def main(
    ctx: click.Context,
    checkpoint: Path,
    artifacts: tuple[Path, ...],
    images: Path,
    device: str,
    warmup: int,
    rounds: int,
    limit: int,
    threads: int | None,
    paste: bool,
    allow_mismatch: bool,
    file: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Time ARTIFACTS against CHECKPOINT run by eager PyTorch, on the same images.

    Every artifact is first compared with eager; one that disagrees is reported as failed, never
    as a speed, and the exit code is 1.
    """
    result = benchmark(
        checkpoint,
        artifacts,
        images=images,
        device=device,
        warmup=warmup,
        rounds=rounds,
        limit=limit,
        threads=threads,
        paste=paste,
        allow_mismatch=allow_mismatch,
    )
    if file is not None:
        write_json(file, result.to_dict())
    if page is not None:
        with replacing(page) as temporary:
            temporary.write_text(markdown(result), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        # Where nobody watches, rich assumes 80 columns and would break the words.
        wide = output if output.is_terminal else Console(width=PIPE_WIDTH)
        wide.print(table(result))
        for line in details(result):
            output.print(line, markup=False)
    _say_what_next(checkpoint, artifacts[0], images, result)
    ctx.exit(0 if result.passed else 1)


def _say_what_next(checkpoint: Path, artifact: Path, images: Path, result: BenchmarkResult) -> None:
    """Commands to go on with: use the artifact, or find out what is wrong with one."""
    truth, first, folder = (shlex.quote(str(path)) for path in (checkpoint, artifact, images))
    if result.passed:
        commands = [
            ("segment images", f"pedseg-predict {first} {folder}"),
            ("measure accuracy", f"pedseg-eval {first} --data DATASET"),
        ]
    else:
        failed = ", ".join(row.name for row in result.contenders if not row.passed)
        notes.print(f"parity failed, so not timed: {failed}", markup=False, style="red")
        commands = [
            ("see what differs", f"pedseg-verify ARTIFACT --checkpoint {truth} --images {folder}")
        ]
    next_commands(commands)


if __name__ == "__main__":
    main()
