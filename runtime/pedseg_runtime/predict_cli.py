"""`pedseg-predict`: segment images with an artifact."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from .console import Command, next_commands, notes, output, progress_bar
from .predict import Prediction, collect_images, predict_files
from .segmenter import Segmenter


@click.command(cls=Command)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("predictions"),
    show_default=True,
    help="Folder for the pictures and detections.json.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N",
    help="Where to run; cuda fails if it is not what runs, auto falls back to the CPU.",
)
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    help="Keep detections above it.  [default: the artifact's own]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Most images in one run.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
@click.option(
    "--self-test/--no-self-test",
    default=True,
    show_default=True,
    help="First replay the samples in the artifact, on the device that is used.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
def main(
    artifact: Path,
    images: tuple[Path, ...],
    folder: Path,
    device: str,
    score_threshold: float | None,
    batch_size: int,
    threads: int | None,
    self_test: bool,
    as_json: bool,
) -> None:
    """Segment IMAGES (files or folders) with ARTIFACT, a file made by pedseg-export.

    Writes a picture per image and detections.json (COCO results with run-length masks). An image
    that cannot be read is listed at the end, the others are segmented, and the exit code is 1.
    """
    files = collect_images(images, output=folder)
    loaded = Segmenter.load(artifact, device=device, threads=threads, self_test=self_test)
    with loaded as segmenter:
        with progress_bar() as bar:
            task = bar.add_task("Segmenting", total=len(files))
            prediction = predict_files(
                segmenter,
                files,
                output=folder,
                score_threshold=score_threshold,
                batch_size=batch_size,
                on_done=lambda count: bar.advance(task, count),
            )
        provider, tested = segmenter.provider, segmenter.self_test
    if as_json:
        facts = {"artifact": str(artifact), "provider": provider, "self_test": tested}
        output.print_json(json.dumps({**facts, **prediction.to_dict()}))
    else:
        _print_summary(prediction, provider, folder)
    for failure in prediction.failed:
        notes.print(f"failed: {failure.reason}", markup=False)
    model, source = shlex.quote(str(artifact)), shlex.quote(str(images[0]))
    next_commands(
        [
            (
                "Compare with the checkpoint:",
                f"pedseg-verify {model} --checkpoint CHECKPOINT --images {source}",
            ),
            ("Measure its speed:", f"pedseg-bench CHECKPOINT {model} --images {source}"),
        ]
    )
    if prediction.failed:
        raise click.exceptions.Exit(1)


def _print_summary(prediction: Prediction, provider: str, folder: Path) -> None:
    """One line on what was found and where it lies."""
    found = prediction.to_dict()
    output.print(
        f"{found['detections']} detections on {found['images']} images ({provider}); "
        f"pictures in {folder}, detections in {prediction.detections_file}",
        markup=False,
    )


if __name__ == "__main__":
    main()
