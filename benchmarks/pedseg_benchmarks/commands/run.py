"""`pedseg-bench run`: artifacts and other ways to run a checkpoint, against eager PyTorch."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from pedseg_runtime.console import Command, next_commands, notes, output
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing, write_json

from ..benchmark import BenchmarkOptions, benchmark
from ..contenders.registry import OPTIONAL, parse_contenders
from ..dataset_selection import LabelledData
from ..report import details, html, markdown, sections, table
from ..results import BenchmarkResult
from ..scenarios.offline import BATCHES
from ..scenarios.plan import MeasurementPlan
from ..scenarios.server import Load

Function = TypeVar("Function", bound=Callable[..., Any])
PIPE_WIDTH = 140
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
POSITIVE = click.FloatRange(min=0, min_open=True)


def _names(text: str) -> tuple[str, ...]:
    """Names of contenders; one that is unknown is a usage error."""
    try:
        return OPTIONAL if text.strip() == "all" else parse_contenders(text)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def _batches(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected numbers such as 1,2,4,8, found {text!r}") from error
    if min(sizes) < 1:
        raise click.BadParameter(f"expected positive numbers, found {text!r}")
    return sizes


SCENARIO_OPTIONS = (
    click.option("--offline", is_flag=True, help="Images per second by batch size."),
    click.option(
        "--batches",
        default=",".join(map(str, BATCHES)),
        show_default=True,
        callback=lambda _ctx, _parameter, text: _batches(text),
        help="Images per call for --offline.",
    ),
    click.option(
        "--server",
        is_flag=True,
        help="Highest rate of Poisson arrivals with p99 within --bound-ms.",
    ),
    click.option("--bound-ms", type=POSITIVE, help="For --server: most milliseconds at p99."),
    click.option(
        "--arrivals",
        type=click.IntRange(min=1),
        default=200,
        show_default=True,
        help="For --server: requests per rate that is tried.",
    ),
    click.option(
        "--trial-seconds",
        type=POSITIVE,
        default=20.0,
        show_default=True,
        help="For --server: longest trial; it then has fewer arrivals.",
    ),
    click.option(
        "--surface", is_flag=True, help="Latency over number of detections and image size."
    ),
    click.option(
        "--cold-start",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Start N processes per contender, each to its first answer.",
    ),
    click.option("--stages", is_flag=True, help="Decode, copy, graph, paste and encode apart."),
    click.option(
        "--limits", is_flag=True, help="Operations a second against what the machine can do."
    ),
    click.option(
        "--calls",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        help="Timed calls per batch size, surface point and stage.",
    ),
)


def scenario_options(function: Function) -> Function:
    """Add the options of what is measured beyond one image at a time to a command."""
    for option in reversed(SCENARIO_OPTIONS):
        function = option(function)
    return function


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
@click.option("--data-images", type=FOLDER, help="Folder of their images, if it is elsewhere.")
@click.option("--data-limit", type=click.IntRange(min=1), help="At most so many of them.")
@click.option(
    "--max-ap-drop",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Points of AP that a lower precision may lose on --data.",
)
@scenario_options
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
    file: Path | None,
    page: Path | None,
    web_page: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Time ARTIFACTS against CHECKPOINT run by eager PyTorch, on the same images.

    Every contender's answers are first compared with eager's; one that is wrong is reported as
    failed, never as a speed, and the exit code is 1. Images that cannot be read, or that make a
    contender fail, are left out for all and listed at the end.
    """
    chosen = read_options(beside=file, **options)

    def save(found: BenchmarkResult) -> None:
        if file is not None:
            write_json(file, found.to_dict())

    result = benchmark(chosen, save=save)
    save(result)
    for path, render in ((page, markdown), (web_page, html)):
        if path is not None:
            with replacing(path) as temporary:
                temporary.write_text(render(result), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False))
    else:
        show(result)
    suggest_next(chosen, result)
    ctx.exit(0 if result.passed else 1)


def read_options(
    *,
    beside: Path | None,
    data: Path | None,
    data_images: Path | None,
    data_limit: int | None,
    max_ap_drop: float,
    cache: Path | None,
    **options: Any,
) -> BenchmarkOptions:
    """The options of the command line as those of `benchmark`.

    Args:
        beside: the result's file; torchvision's own export is kept beside it without `cache`.
        data: labelled images, if any.
        data_images: folder of them, if it is elsewhere.
        data_limit: at most so many of them.
        max_ap_drop: points of AP that a lower precision may lose on them.
        cache: folder for torchvision's own export.
        options: those of `read_plan`, and others under the names of `BenchmarkOptions`.

    Raises:
        InputError: an option is out of range, or lacks another one.
    """
    plan = read_plan(
        **{name: options.pop(name) for name in inspect.signature(read_plan).parameters}
    )
    labelled = None
    if data is not None:
        labelled = LabelledData(
            data=data, limit=data_limit, max_drop=max_ap_drop, images=data_images
        )
    if cache is None and beside is not None:
        cache = beside.parent / "stock"
    return BenchmarkOptions(labelled=labelled, plan=plan, cache=cache, **options)


def read_plan(
    *,
    offline: bool,
    batches: tuple[int, ...],
    server: bool,
    bound_ms: float | None,
    arrivals: int,
    trial_seconds: float,
    surface: bool,
    cold_start: int,
    stages: bool,
    limits: bool,
    calls: int,
) -> MeasurementPlan:
    """The scenarios that the options name.

    Raises:
        InputError: --server without --bound-ms, or the other way round.
    """
    if server != (bound_ms is not None):
        raise InputError(
            "server: expected --server and --bound-ms together, found one of them; say how many "
            "milliseconds a request may take, e.g. --server --bound-ms 500"
        )
    load = None
    if bound_ms is not None:
        load = Load(bound_ms=bound_ms, arrivals=arrivals, max_seconds=trial_seconds)
    return MeasurementPlan(
        batches=batches if offline else (),
        load=load,
        surface=surface,
        cold_starts=cold_start,
        stages=stages,
        roofline=limits,
        calls=calls,
    )


def show(result: BenchmarkResult) -> None:
    """The result for a terminal."""
    # Without a terminal rich assumes 80 columns and would break the words.
    wide = output if output.is_terminal else Console(width=PIPE_WIDTH)
    wide.print(table(result))
    for line in details(result):
        output.print(line, markup=False)
    for grid in sections(result):
        wide.print(grid)


def suggest_next(options: BenchmarkOptions, result: BenchmarkResult) -> None:
    """Print the next commands: use an artifact, or find out what is wrong with one."""
    artifacts = options.artifacts
    checkpoint, images = shlex.quote(str(options.checkpoint)), shlex.quote(str(options.images))
    first = shlex.quote(str(artifacts[0])) if artifacts else "ARTIFACT"
    for image in result.left_out:
        notes.print(f"left out: {image.name}: {image.reason}", markup=False, style="yellow")
    for missing in result.not_run:
        notes.print(f"not run: {missing.name}: {missing.reason}", markup=False, style="yellow")
    if not result.passed:
        failed = ", ".join(row.name for row in result.contenders if not row.passed)
        notes.print(f"wrong answers, so not timed: {failed}", markup=False, style="red")
        commands = [
            (
                "see what differs",
                f"pedseg-verify ARTIFACT --checkpoint {checkpoint} --images {images}",
            )
        ]
    elif artifacts:
        commands = [
            ("segment images", f"pedseg-predict {first} {images}"),
            ("measure accuracy", f"pedseg-eval {first} --data DATASET"),
        ]
    else:
        commands = [("export", f"pedseg-export {checkpoint}")]
    next_commands(commands)
