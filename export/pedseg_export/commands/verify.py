"""`pedseg-verify`: compare an artifact with its checkpoint, on images or generated scenes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.console import (
    Command,
    next_commands,
    notes,
    output,
    progress_bar,
)
from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import DeviceError, InputError, ParityError
from pedseg_runtime.files import write_json
from pedseg_runtime.images import read_image
from pedseg_runtime.parity import TOLERANCES, ParityReport
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import LoadedCheckpoint, load_checkpoint, with_settings
from pedseg_train.eager import EagerSegmenter

from ..stages import StageReport, examine
from ..verification import (
    Failure,
    Sample,
    agrees,
    generated_samples,
    verify,
)
from .export import select_files

EXISTING = click.Path(path_type=Path)
SETTINGS = ("min_size", "max_size", "score_threshold", "nms_threshold", "detections_per_image")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result for an artifact; true if it agrees with its checkpoint.

    Attributes:
        precision: of the artifact.
        parity: its detections against eager's.
        stages: its stages against eager's, None if not requested.
        failed: images that were left out. One that cannot be used at all is no evidence against the
            artifact, one that fails in any other way is.
    """

    precision: str
    parity: ParityReport
    stages: StageReport | None = None
    failed: Sequence[Failure] = ()

    def __bool__(self) -> bool:
        """The stages of a lower precision are for information: AP decides on its loss."""
        if not all(failure.is_refusal for failure in self.failed):
            return False
        stages = self.stages if self.precision == "fp32" else None
        return agrees(self.parity, self.precision) and (stages is None or bool(stages))

    def to_dict(self) -> dict[str, Any]:
        """The parity report with `stages` added, as plain values; `passed` covers both."""
        values = {**self.parity.to_dict(), "precision": self.precision, "passed": bool(self)}
        if self.failed:
            values["failed"] = [{"file": one.name, "reason": str(one)} for one in self.failed]
        return values if self.stages is None else {**values, "stages": self.stages.to_dict()}

    def summary(self) -> str:
        """All verdicts in one line."""
        parts = [report.summary() for report in (self.parity, self.stages) if report is not None]
        if not all(failure.is_refusal for failure in self.failed):
            parts.append("images failed while they were segmented")
        return "; ".join(parts)


@click.command(cls=Command)
@click.argument("artifact", type=EXISTING)
@click.option("--checkpoint", type=EXISTING, required=True, help="The checkpoint of the artifact.")
@click.option("--images", type=EXISTING, help="An image or a folder; default: generated scenes.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--stages", is_flag=True, help="Name the first stage that disagrees with eager.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N or openvino.")
@click.option("--report", "report_path", type=EXISTING, help="Write the report as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def main(
    artifact: Path,
    checkpoint: Path,
    images: Path | None,
    limit: int,
    stages: bool,
    device: str,
    report_path: Path | None,
    as_json: bool,
) -> None:
    """Compare ARTIFACT with eager PyTorch; exit code 1 if they disagree."""
    found = verify_files(
        artifact=artifact,
        checkpoint=checkpoint,
        images=images,
        limit=limit,
        device=device,
        stages=stages,
    )
    if report_path:
        write_json(report_path, found.to_dict())
    if as_json:
        output.print_json(json.dumps(found.to_dict()))
    else:
        show(found)
    for failure in found.failed:
        notes.print(f"left out: {failure}", markup=False)
    if not found:
        raise ParityError(found.summary(), found.parity)
    next_commands([("benchmark", f"pedseg-bench run {checkpoint} {artifact} --images IMAGES")])


def verify_files(
    *,
    artifact: Path,
    checkpoint: Path,
    images: Path | None = None,
    limit: int = 100,
    device: str = "cpu",
    stages: bool = False,
) -> Verification:
    """Compare an artifact file with a checkpoint file on images or on generated scenes.

    Eager uses the sizes and thresholds that the artifact was exported with. Beside an artifact that
    OpenVINO runs, it runs on the CPU.

    Raises:
        ArtifactError: the artifact cannot be used, or its stages have no names.
        CheckpointError: the checkpoint cannot be used.
        DeviceError: the device does not run both.
        InputError: there is no image to compare on.
    """
    loaded = load_checkpoint(checkpoint)
    with Segmenter.load(artifact, device=device) as segmenter, progress_bar() as bar:
        manifest = segmenter.manifest
        if manifest.checkpoint_sha256 != loaded.sha256:
            notes.print(f"note: {artifact} was exported from another checkpoint", markup=False)
        loaded = as_exported(loaded, manifest)
        failed: list[Failure] = []
        samples = select_samples(manifest, images, limit, failed.append)
        reference = EagerSegmenter(
            loaded.model,
            class_names=loaded.header.class_names,
            device=parse_device(device).beside,
        )
        task = bar.add_task("comparing", total=len(samples))
        parity = verify(
            segmenter,
            reference,
            samples,
            tolerances=TOLERANCES[manifest.precision],
            progress=lambda done: bar.advance(task, done),
            on_failure=failed.append,
        )
        if len(failed) and not parity.counts.images:
            raise InputError(f"{images}: expected images to compare on, found none: {failed[0]}")
        if not stages:
            return Verification(precision=manifest.precision, parity=parity, failed=failed)
        names = {failure.name for failure in failed}
        samples = [sample for sample in samples if sample.name not in names]
        task = bar.add_task("stages", total=len(samples))
        report = examine(
            artifact, reference, samples, progress=lambda done: bar.advance(task, done)
        )
        return Verification(
            precision=manifest.precision, parity=parity, stages=report, failed=failed
        )


def as_exported(loaded: LoadedCheckpoint, manifest: Manifest) -> LoadedCheckpoint:
    """The checkpoint with the sizes and thresholds of an artifact; prints a note if they differ."""
    changes = {name: getattr(manifest, name) for name in SETTINGS}
    changed = [
        f"{name} {value} (checkpoint: {getattr(loaded.header, name)})"
        for name, value in changes.items()
        if value != getattr(loaded.header, name)
    ]
    if not changed:
        return loaded
    notes.print(f"note: the artifact has settings of its own: {', '.join(changed)}", markup=False)
    return with_settings(loaded, **changes)


def select_samples(
    manifest: Manifest,
    images: Path | None,
    limit: int,
    on_failure: Callable[[Failure], object] | None = None,
) -> list[Sample]:
    """Images of a size that the artifact takes; generated scenes if `images` is None.

    `on_failure` is called with each that cannot be read; None raises the error instead.

    Raises:
        InputError: no image has the fixed size of the artifact.
    """
    fixed = manifest.static_shape
    if images is None:
        return generated_samples(fixed)
    samples = []
    for file in select_files(images, limit):
        try:
            samples.append(Sample(file.name, read_image(file)))
        except (DeviceError, InputError) as error:
            if on_failure is None:
                raise
            on_failure(Failure(file.name, error))
    if fixed is None:
        return samples
    fitting = [sample for sample in samples if sample.image.shape[:2] == fixed[1:]]
    size = f"{fixed[1]}x{fixed[2]} (height x width)"
    if not fitting:
        raise InputError(
            f"{images}: expected an image of {size}, the fixed size of the artifact, "
            f"found none among {len(samples)}; resize them, or leave --images out"
        )
    if len(fitting) < len(samples):
        left_out = len(samples) - len(fitting)
        notes.print(f"note: {left_out} images are not {size} and were left out", markup=False)
    return fitting


def show(found: Verification) -> None:
    """Print the result for a terminal."""
    output.print(found.parity.table())
    for flip in found.parity.unmatched:
        kind = "benign" if flip.benign else "defect"
        whose = f"{flip.side} only" if flip.edge_margin is None else "masks of a pair"
        noise = "" if flip.noise_margin is None else f" by noise of {flip.noise_margin:.0e}"
        output.print(f"{flip.image}: {whose}, {flip.kind}{noise} ({kind})", markup=False)
    if found.stages is None:
        return
    output.print(found.stages.table())
    for stage in found.stages.stages:
        for note in stage.notes:
            output.print(f"{stage.name}: {note}", markup=False)
    output.print(found.stages.summary(), markup=False)
    if found.precision != "fp32":
        output.print(
            f"for information: AP decides whether the loss of {found.precision} is acceptable"
        )


if __name__ == "__main__":
    main()
