"""`pedseg-export`: a checkpoint in, a verified artifact out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from pedseg_runtime.console import Choice, Command, next_commands, notes, output
from pedseg_runtime.images import find_images, read_image

from .export import ExportResult, export_artifact
from .formats import FORMATS
from .verification import Sample

EXISTING = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("checkpoint", type=EXISTING)
@click.option(
    "--format",
    "format_name",
    type=Choice(list(FORMATS)),
    default="onnx",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--output", "-o", "path", type=EXISTING, help="The artifact; default: beside the checkpoint."
)
@click.option(
    "--images",
    type=EXISTING,
    help="A picture or a folder of them to compare on, besides generated scenes.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Where to compare: cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(
    checkpoint: Path,
    format_name: str,
    path: Path | None,
    images: Path | None,
    limit: int,
    device: str,
    as_json: bool,
) -> None:
    """Export CHECKPOINT and compare the artifact with eager PyTorch before it is put in place.

    Nothing is written if the two disagree.
    """
    target = path or checkpoint.with_suffix(FORMATS[format_name].suffix)
    samples = read_samples(images, limit) if images else []
    with notes.status("exporting") as status:
        result = export_artifact(
            checkpoint,
            output=target,
            format=format_name,
            samples=samples,
            device=device,
            notify=lambda line: status.update(line) if notes.is_terminal else notes.print(line),
        )
    if as_json:
        output.print_json(json.dumps(summary(result)))
    else:
        output.print(result.report.table())
        megabytes = result.path.stat().st_size / 1e6
        seconds = sum(result.seconds.values())
        output.print(f"wrote {result.path} ({megabytes:.1f} MB, {seconds:.0f} s)")
    artifact, source = shlex.quote(str(target)), shlex.quote(str(checkpoint))
    next_commands(
        [
            ("predict", f"pedseg-predict {artifact} IMAGES --score-threshold 0.5"),
            ("evaluate", f"pedseg-eval {artifact} --data DATASET"),
            ("benchmark", f"pedseg-bench {source} {artifact} --images IMAGES"),
        ]
    )


def read_samples(path: Path, limit: int) -> list[Sample]:
    """At most `limit` pictures of a file or folder, evenly spread over the sorted names."""
    files = find_images(path)
    chosen = files if len(files) <= limit else files[:: -(-len(files) // limit)]
    return [Sample(file.name, read_image(file)) for file in chosen]


def summary(result: ExportResult) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "path": str(result.path),
        "bytes": result.path.stat().st_size,
        "seconds": result.seconds,
        **result.facts,
        "manifest": json.loads(result.manifest.to_json()),
    }


if __name__ == "__main__":
    main()
