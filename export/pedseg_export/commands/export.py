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
from pedseg_runtime.errors import DeviceError, InputError
from pedseg_runtime.images import find_images, read_image

from .. import placement
from ..accuracy_gate import AccuracyGate
from ..export import ExportResult, export_artifact
from ..formats import FORMATS
from ..model_card import write_model_card
from ..options import DEVICE_TARGETS, PRECISIONS, ExportOptions, Target, parse_shape
from ..placement import CudaPlacement
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
@click.option("--license", help="Of the weights, for the model card: bsd-3-clause, cc-by-4.0, ...")
@click.option(
    "--model-card/--no-model-card",
    default=True,
    help="Describe the artifact in a Markdown file beside it.",
)
@click.option(
    "--explain-placement",
    is_flag=True,
    help="Print which nodes onnxruntime would run on CUDA, without a GPU; CHECKPOINT may then be "
    "an ONNX artifact, which is explained as it is.",
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
    model_card: bool,
    explain_placement: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Export CHECKPOINT and compare the artifact with eager PyTorch.

    Nothing is written if the two disagree.
    """
    if explain_placement:
        check_placement_can_be_explained(options["format"])
        if checkpoint.suffix == FORMATS["onnx"].suffix:
            show_placement_of(checkpoint, as_json=as_json)
            return
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
    card = write_model_card(result.path, result.manifest) if model_card else None
    placed = placement.explain_placement(target) if explain_placement else None
    if as_json:
        output.print_json(json.dumps({**summary(result, placed), "model_card": card and str(card)}))
    else:
        show(result)
        if placed is not None:
            show_placement(placed)
        if card is not None:
            output.print(f"described in {card}", markup=False)
    show_next_commands(target, checkpoint)


def read_options(
    *, static: str | None, target: str | None, license: str | None, **options: Any
) -> ExportOptions:
    """Parse the command line's options."""
    return ExportOptions(
        license=license or "",
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


def check_placement_can_be_explained(format: str) -> None:
    """Refuse `--explain-placement` where it cannot work, before any slow step.

    Raises:
        DeviceError: onnxruntime has no CUDA provider here, or there is no C compiler.
        InputError: another format than ONNX.
    """
    if format != "onnx":
        raise InputError(
            f"explain placement: expected --format onnx, which onnxruntime runs, found {format}"
        )
    missing = placement.unavailable()
    if missing:
        raise DeviceError(f"explain placement: {missing}")


def show_placement_of(artifact: Path, *, as_json: bool) -> None:
    """Print where the nodes of an artifact run, for a terminal or as JSON."""
    placed = placement.explain_placement(artifact)
    if as_json:
        found = {"path": str(artifact), "placement": placed.to_dict()}
        output.print_json(json.dumps(found))
    else:
        show_placement(placed)


def show_placement(placed: CudaPlacement) -> None:
    """Print where the nodes run for a terminal."""
    for line in placed.lines():
        output.print(line, markup=False)


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


def summary(result: ExportResult, placed: CudaPlacement | None = None) -> dict[str, object]:
    """What `--json` prints."""
    return {
        **({} if placed is None else {"placement": placed.to_dict()}),
        "path": str(result.path),
        "bytes": result.path.stat().st_size,
        "seconds": result.seconds,
        "manifest": json.loads(result.manifest.to_json()),
    }


if __name__ == "__main__":
    main()
