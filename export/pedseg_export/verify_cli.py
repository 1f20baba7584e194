"""`pedseg-verify`: does this artifact still answer as its checkpoint does, on these pictures?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from pedseg_runtime.console import Command, next_commands, notes, output, progress_bar
from pedseg_runtime.errors import ParityError
from pedseg_runtime.files import write_json
from pedseg_runtime.parity import ParityReport
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import load_checkpoint
from pedseg_train.eager import EagerSegmenter

from .cli import read_samples
from .verification import generated_samples, verify

EXISTING = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("artifact", type=EXISTING)
@click.option("--checkpoint", type=EXISTING, required=True, help="What the artifact came from.")
@click.option("--images", type=EXISTING, help="A picture or a folder; default: generated scenes.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--report", "report_path", type=EXISTING, help="Write the report as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def main(
    artifact: Path,
    checkpoint: Path,
    images: Path | None,
    limit: int,
    device: str,
    report_path: Path | None,
    as_json: bool,
) -> None:
    """Compare ARTIFACT with eager PyTorch; exit code 1 if they disagree."""
    report = verify_files(
        artifact=artifact, checkpoint=checkpoint, images=images, limit=limit, device=device
    )
    if report_path:
        write_json(report_path, report.to_dict())
    if as_json:
        output.print_json(json.dumps(report.to_dict()))
    else:
        output.print(report.table())
        for flip in report.unmatched:
            kind = "benign" if flip.benign else "defect"
            output.print(f"{flip.image}: {flip.side} only, {flip.kind} ({kind})", markup=False)
    if not report:
        raise ParityError(report.summary(), report)
    next_commands([("benchmark", f"pedseg-bench {checkpoint} {artifact} --images IMAGES")])


def verify_files(
    *, artifact: Path, checkpoint: Path, images: Path | None, limit: int, device: str
) -> ParityReport:
    """Compare an artifact file with a checkpoint file on pictures, or on generated scenes."""
    samples = read_samples(images, limit) if images else generated_samples()
    loaded = load_checkpoint(checkpoint)
    reference = EagerSegmenter(loaded.model, class_names=loaded.header.class_names, device=device)
    with Segmenter.load(artifact, device=device) as segmenter, progress_bar() as bar:
        if segmenter.manifest.checkpoint_sha256 != loaded.sha256:
            notes.print(f"note: {artifact} was exported from another checkpoint", markup=False)
        task = bar.add_task("comparing", total=len(samples))
        return verify(segmenter, reference, samples, progress=lambda done: bar.advance(task, done))


if __name__ == "__main__":
    main()
