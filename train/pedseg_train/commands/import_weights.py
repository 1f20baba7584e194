"""`pedseg-import`: weights of another program in, a checkpoint of pedseg out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.console import Choice, Command, Many, next_commands, notes, output
from pedseg_runtime.errors import InputError
from pedseg_runtime.images import find_images, read_image

from ..architectures import ARCHITECTURES, NORM_KINDS
from ..importing import ImportOptions, ImportResult, import_weights
from ..importing.verification import NamedImage

FILE = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("weights", type=FILE)
@click.option(
    "--output", "-o", "path", type=FILE, required=True, help="The checkpoint, *.safetensors."
)
@click.option("--entry", help="Which network of a file that holds several, e.g. model_ema.")
@click.option("--architecture", type=Choice([*ARCHITECTURES]), help="Expect this one.")
@click.option(
    "--class-names",
    metavar="NAME,NAME|FILE",
    help="By label, without the background; or a text file with a name per line. "
    "Default: person, or class1, class2, ...",
)
@click.option("--norm", type=Choice(NORM_KINDS), help="Kind of the backbone's norms.")
@click.option(
    "--norm-eps",
    type=click.FloatRange(0, 1, max_open=True),
    help="Of the backbone's norms: 0 if training began with torchvision's COCO weights of "
    "maskrcnn_resnet50_fpn, else 1e-5.",
)
@click.option("--min-size", type=int, help="Shorter side in the network, in pixels. [800]")
@click.option("--max-size", type=int, help="Limit of the longer side, in pixels. [1333]")
@click.option("--score-threshold", type=float, help="Drop detections that score no more. [0.05]")
@click.option("--nms-threshold", type=float, help="Drop boxes that overlap a better one. [0.5]")
@click.option("--max-detections", "detections_per_image", type=int, help="Per image. [100]")
@click.option(
    "--anchor-sizes",
    type=Many(click.INT),
    help="Anchor side in pixels per pyramid level. [32,64,128,256,512]",
)
@click.option(
    "--verify-against",
    metavar="SCRIPT.py:FUNCTION",
    help="Your own code: a function that builds your model and loads WEIGHTS. Its settings are "
    "taken over, and the checkpoint is kept only if it detects the same on --images.",
)
@click.option("--images", type=FILE, help="An image or a folder of them; default: generated.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(
    weights: Path,
    path: Path,
    class_names: str | None,
    images: Path | None,
    limit: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn WEIGHTS, a state dict of torchvision's Mask R-CNN, into a checkpoint.

    WEIGHTS is a .pth, .pt, .ckpt or .safetensors file as torch.save(model.state_dict()),
    torchvision's reference training, Lightning and the like write it. No code in it is run.
    """
    result = import_weights(
        weights,
        output=path,
        options=ImportOptions(class_names=read_names(class_names), **options),
        images=read_samples(images, limit) if images else (),
        notify=lambda line: notes.print(line, markup=False),
    )
    if as_json:
        output.print_json(json.dumps(summary(result), allow_nan=False))
    else:
        show(result, named=class_names is not None, verified_by=options["verify_against"])
    next_commands(
        [
            ("export", f"pedseg-export {shlex.quote(str(path))}"),
            ("evaluate", f"pedseg-eval {shlex.quote(str(path))} --data DATASET --split all"),
        ]
    )


def read_names(text: str | None) -> tuple[str, ...] | None:
    """Class names from `a,b`, or from the lines of a file.

    Raises:
        InputError: an empty name, or a file that is no text.
    """
    if text is None:
        return None
    file = Path(text)
    try:
        is_file = file.is_file()
        names = file.read_text(encoding="utf-8").splitlines() if is_file else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"class names: expected a text file, found {file} ({error})") from error
    stripped = [name.strip() for name in names]
    if is_file:
        stripped = [name for name in stripped if name]
    if not stripped or "" in stripped:
        raise InputError(f"class names: expected names with commas between, found {text!r}")
    return tuple(stripped)


def read_samples(path: Path, limit: int) -> list[NamedImage]:
    """At most `limit` images of a file or folder, evenly spread over the sorted names."""
    files = find_images(path)
    chosen = files if len(files) <= limit else files[:: -(-len(files) // limit)]
    return [NamedImage(file.name, read_image(file)) for file in chosen]


def show(result: ImportResult, *, named: bool, verified_by: str | None) -> None:
    """The outcome for a terminal."""
    header, network = result.header, result.network
    rows = {
        "architecture": header.architecture,
        "classes": f"{', '.join(header.class_names[1:])} ({network.num_classes} labels with the "
        "background)" + ("" if named else "; name them by --class-names"),
        "norms": f"{header.norm.replace('_', ' ')}, eps {header.norm_eps:g}: {result.eps_reason}",
        "mask width": str(network.mask_width),
        "sizes": f"shorter side {header.min_size}, longer at most {header.max_size} pixels",
        "thresholds": f"score {header.score_threshold:g}, NMS {header.nms_threshold:g}, at most "
        f"{header.detections_per_image} detections",
        "anchors": f"{', '.join(map(str, header.anchor_sizes))} pixels",
    }
    if result.report is None:
        rows["assumed"] = (
            f"sizes, thresholds and anchors above unless given, {', '.join(network.assumed)}; "
            "--verify-against proves them"
        )
    else:
        rows["verified"] = f"against {verified_by}: {result.report.summary()}"
    for name, value in rows.items():
        output.print(f"{name:<12}  {value}", markup=False)
    for note in result.notes:
        output.print(f"{'note':<12}  {note}", markup=False)
    megabytes = result.path.stat().st_size / 1e6
    output.print(f"wrote {result.path} ({megabytes:.1f} MB)", markup=False)


def summary(result: ImportResult) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "path": str(result.path),
        "bytes": result.path.stat().st_size,
        "header": json.loads(result.header.to_json()),
        "norm_eps_reason": result.eps_reason,
        "eps_effect": result.effect.to_dict() if result.effect else None,
        "parity": result.report.to_dict() if result.report else None,
        "assumed": list(result.network.assumed) if result.report is None else [],
        "notes": list(result.notes),
    }


if __name__ == "__main__":
    main()
