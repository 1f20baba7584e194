"""`pedseg-bench pack`: a kit for the suite on a machine without network."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from pathlib import Path

import click

from pedseg_runtime.console import Command, next_commands, notes
from pedseg_runtime.errors import InputError

from ..kit.archive import MOST_PART_BYTES
from ..suite.pack import PackOptions, pack
from .outcomes import tell

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
MIB = 2**20


def _installed_onnxruntime() -> str:
    """The package that the other machine needs most likely, in the version of this one."""
    try:
        return f"onnxruntime-gpu=={metadata.version('onnxruntime-gpu')}"
    except metadata.PackageNotFoundError as error:
        raise InputError(
            "wheel: expected onnxruntime-gpu to be installed, found none; name the version, e.g. "
            "--wheel onnxruntime-gpu==1.31.1"
        ) from error


@click.command(cls=Command)
@click.argument("checkpoint", type=FILE, required=False)
@click.option("--images", type=click.Path(path_type=Path, exists=True), help="For CHECKPOINT.")
@click.option(
    "--output",
    "kit",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder that becomes the kit.",
)
@click.option(
    "--wheel",
    "requirements",
    multiple=True,
    metavar="NAME==VERSION",
    help="A package the other machine lacks, or a wheel.  [default: onnxruntime-gpu as here]",
)
@click.option("--python", default="3.12", show_default=True, help="Version on the other machine.")
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    type=click.FloatRange(min=5),
    default=(9.0,),
    show_default=True,
    help="Compute capability on the other machine; may be repeated.",
)
@click.option(
    "--part-size",
    type=click.IntRange(1, MOST_PART_BYTES // MIB),
    default=56,
    show_default=True,
    help="Most MiB of a part.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for what is made on the way.  [default: OUTPUT-cache]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the listing as JSON.")
def main(
    checkpoint: Path | None,
    images: Path | None,
    kit: Path,
    requirements: tuple[str, ...],
    python: str,
    gpus: tuple[float, ...],
    part_size: int,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Pack models, libraries and pedseg itself for `pedseg-bench suite --packed` elsewhere.

    Without CHECKPOINT a full-size network is made. Exports that an earlier run has made are reused.
    """
    options = PackOptions(
        kit=kit,
        cache=cache or kit.with_name(f"{kit.name}-cache"),
        checkpoint=checkpoint,
        images=images,
        requirements=requirements or (_installed_onnxruntime(),),
        python=python,
        gpus=[round(10 * gpu) for gpu in gpus],
        part_bytes=part_size * MIB,
    )
    listing = pack(
        options, notify=lambda line: notes.print(f"\n{line}", markup=False), on_outcome=tell
    )
    if as_json:
        click.echo(json.dumps(listing, indent=2, allow_nan=False))
    for part in listing["parts"]:
        notes.print(f"{kit / part['name']}: {part['bytes'] / MIB:.1f} MiB", markup=False)
    packed, full = listing["packed_bytes"] / MIB, listing["unpacked_bytes"] / MIB
    notes.print(
        f"{packed:.1f} MiB hold {full:.1f}; CUDA's library {listing['wheels']['cuda_library']}",
        markup=False,
    )
    where = shlex.quote(str(kit))
    next_commands(
        [("on the other machine", f"pedseg-bench suite --packed {where} --device cuda --budget 8")]
    )
