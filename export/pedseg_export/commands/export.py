"""`pedseg-export`: a checkpoint in, a verified artifact out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.console import (
    Choice,
    Command,
    next_commands,
    notes,
    output,
)
from pedseg_runtime.errors import InputError
from pedseg_runtime.images import find_images, read_image

from ..accuracy_gate import AccuracyGate
from ..export import ExportResult, export_artifact
from ..formats import FORMATS
from ..options import DEVICE_TARGETS, PRECISIONS, ExportOptions, Target, parse_shape
from ..quantization.precisions import Calibration
from ..verification import Sample

FILE = click.Path(path_type=Path)
METHODS = ("entropy", "percentile", "minmax")


@click.command(cls=Command)
@click.argument("checkpoint", type=FILE)
@click.option("--format", type=Choice(list(FORMATS)), default="onnx", show_default=True)
@click.option(
    "--output", "-o", "path", type=FILE, help="The artifact; default: beside the checkpoint."
)
@click.option(
    "--precision",
    type=Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="What the networks compute in; int8 needs --calibration.",
)
@click.option(
    "--masks",
    "mask_format",
    type=Choice(["roi", "full"]),
    default="roi",
    show_default=True,
    help="Soft masks in the frame of their box, or masks of the whole image.",
)
@click.option("--static", metavar="NxHxW", help="Fix batch, height and width.")
@click.option("--target", metavar="PACKAGE==X", help="onnxruntime to export for; default: yours.")
@click.option(
    "--device-target",
    type=Choice(DEVICE_TARGETS),
    default="cpu",
    show_default=True,
    help="Device that the ONNX graph shall be fast on; it runs on the other too.",
)
@click.option("--min-size", type=int, help="Shorter side in the network, in pixels.")
@click.option("--max-size", type=int, help="Limit of the longer side, in pixels.")
@click.option("--score-threshold", type=float, help="Drop detections that score no more.")
@click.option("--nms-threshold", type=float, help="Drop boxes that overlap a better one by more.")
@click.option("--max-detections", "detections_per_image", type=int, help="Per image.")
@click.option("--calibration", type=FILE, help="Folder of images to calibrate int8 on.")
@click.option(
    "--calibration-method", type=Choice(METHODS), help="How activation ranges are chosen for int8."
)
@click.option("--data", type=FILE, help="Labelled dataset: gate the artifact by AP.")
@click.option("--data-images", type=FILE, help="Folder of its images, if it is elsewhere.")
@click.option(
    "--max-ap-drop",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Largest acceptable loss of AP on --data, in points.",
)
@click.option(
    "--verify-images",
    "--images",
    "images",
    type=FILE,
    help="An image or a folder to compare on, besides generated scenes.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option(
    "--golden/--no-golden",
    "self_test",
    default=True,
    help="Store generated scenes in the artifact, on which it tests itself when loaded.",
)
@click.option(
    "--device", default="cpu", show_default=True, help="Where to compare: cpu, cuda or openvino."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(
    checkpoint: Path,
    path: Path | None,
    images: Path | None,
    limit: int,
    calibration: Path | None,
    calibration_method: str | None,
    data: Path | None,
    data_images: Path | None,
    max_ap_drop: float,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Export CHECKPOINT and compare the artifact with eager PyTorch.

    Nothing is written if the two disagree.
    """
    chosen = read_options(**options)
    target = path or default_path(checkpoint, chosen)
    samples = read_samples(images, limit) if images else []
    calibration_images = read_calibration_images(calibration, calibration_method, chosen)
    gate = None
    if data is not None:
        gate = AccuracyGate.open(
            data, checkpoint=checkpoint, max_drop=max_ap_drop, images=data_images
        )
    with notes.status("exporting") as status:

        def notify(line: str) -> None:
            if notes.is_terminal:
                status.update(line)
            else:
                notes.print(line, markup=False)

        result = export_artifact(
            checkpoint,
            output=target,
            options=chosen,
            samples=samples,
            calibration=calibration_images,
            gate=gate,
            device=device,
            notify=notify,
        )
    if as_json:
        output.print_json(json.dumps(summary(result)))
    else:
        show(result)
    show_next_commands(target, checkpoint)


def read_options(*, static: str | None, target: str | None, **options: Any) -> ExportOptions:
    """Parse the command line's options."""
    return ExportOptions(
        static_shape=parse_shape(static) if static else None,
        target=Target.parse(target) if target else Target.installed(),
        **options,
    )


def default_path(checkpoint: Path, options: ExportOptions) -> Path:
    """Beside the checkpoint: `best.onnx`, `best.int8.onnx`, `best.fp16.cuda.onnx`."""
    precision = "" if options.precision == "fp32" else f".{options.precision}"
    device = "" if options.device_target == "cpu" else f".{options.device_target}"
    return checkpoint.with_suffix(f"{precision}{device}{FORMATS[options.format].suffix}")


def read_samples(path: Path, limit: int) -> list[Sample]:
    """At most `limit` images of a file or folder, evenly spread over the sorted names."""
    return [Sample(file.name, read_image(file)) for file in select_files(path, limit)]


def select_files(path: Path, limit: int) -> list[Path]:
    """At most `limit` images of a file or folder, evenly spread over the sorted names."""
    files = find_images(path)
    return files if len(files) <= limit else files[:: -(-len(files) // limit)]


def read_calibration_images(
    folder: Path | None, method: str | None, options: ExportOptions
) -> Calibration | None:
    """The images to calibrate on, checked before any slow step.

    Raises:
        InputError: int8 without images, images without int8, or too few or unreadable images.
    """
    if (folder is None) == (options.precision == "int8"):
        found = "no --calibration" if folder is None else f"precision {options.precision}"
        raise InputError(
            f"calibration: expected --precision int8 and --calibration DIR together, found {found}"
        )
    if folder is None:
        return None
    from ..quantization.calibration import read_calibration

    return Calibration(read_calibration(folder), method)


def show(result: ExportResult) -> None:
    """Print the result for a terminal."""
    output.print(result.report.table())
    manifest = result.manifest
    for note in manifest.precision_notes:
        output.print(f"float32: {note}", markup=False)
    if manifest.accuracy:
        output.print(f"AP: {manifest.accuracy['reason']}", markup=False)
    megabytes = result.path.stat().st_size / 1e6
    seconds = sum(result.seconds.values())
    nodes = f", {sum(manifest.operators.values())} nodes" if manifest.operators else ""
    output.print(f"wrote {result.path} ({megabytes:.1f} MB{nodes}, {seconds:.0f} s)", markup=False)


def show_next_commands(target: Path, checkpoint: Path) -> None:
    """Print the commands that are useful next."""
    artifact, source = shlex.quote(str(target)), shlex.quote(str(checkpoint))
    next_commands(
        [
            ("predict", f"pedseg-predict {artifact} IMAGES --score-threshold 0.5"),
            ("evaluate", f"pedseg-eval {artifact} --data DATASET"),
            ("benchmark", f"pedseg-bench run {source} {artifact} --images IMAGES"),
        ]
    )


def summary(result: ExportResult) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "path": str(result.path),
        "bytes": result.path.stat().st_size,
        "seconds": result.seconds,
        "manifest": json.loads(result.manifest.to_json()),
    }


if __name__ == "__main__":
    main()
