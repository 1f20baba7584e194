"""`pedseg-bench profile`: which nodes of a model take the time."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from pedseg_runtime.console import Command, next_commands, notes, output
from pedseg_runtime.files import write_json

from ..profiling import profile
from ..report.profile import profile_caption, profile_grids
from ..report.terminal import Fitting

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(cls=Command)
@click.argument("path", metavar="CHECKPOINT_OR_ARTIFACT", type=FILE)
@click.option("--image", type=FILE, required=True, help="Use a real one with people on it.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N or tensorrt.")
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="profile",
    show_default=True,
    help="Folder for the raw trace.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, help="List so many nodes."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the library's]"
)
@click.option("--warmup", default=3, show_default=True, help="Runs that do not count.")
@click.option("--runs", default=5, show_default=True, help="Runs that the times are means of.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the profile as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def main(
    path: Path,
    image: Path,
    device: str,
    folder: Path,
    top: int,
    threads: int | None,
    warmup: int,
    runs: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """List what takes the time in CHECKPOINT_OR_ARTIFACT on one image.

    An ONNX artifact is profiled by onnxruntime, node by node; a checkpoint, TorchScript and pt2 by
    torch, operator by operator.
    """
    with notes.status("profiling") if notes.is_terminal else click.get_current_context().scope():
        found = profile(
            path,
            image=image,
            output=folder,
            device=device,
            threads=threads,
            warmup=warmup,
            runs=runs,
        )
    if report is not None:
        write_json(report, found.to_dict(top=top))
    if as_json:
        click.echo(json.dumps(found.to_dict(top=top), indent=2, allow_nan=False))
    else:
        for grid in profile_grids(found, top=top):
            output.print(Fitting(grid))
        output.print(profile_caption(found), markup=False)
    trace = shlex.quote(str(folder / found.trace))
    next_commands([("look at the trace", f"open {trace} at chrome://tracing or ui.perfetto.dev")])
