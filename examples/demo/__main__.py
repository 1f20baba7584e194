"""The whole line with visible commands: data, training, export, evaluation, prediction, benchmark.

    python -m examples.demo --output demo                # fine-tune for the night, minutes
    python -m examples.demo --output demo --full         # 400 streets from random weights
    python -m examples.demo --output demo --data DIR     # a Penn-Fudan folder or COCO JSON

Each step is one pedseg command, printed before it runs; type them yourself the next time. The last
line names a page with what came out.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import click

from pedseg_runtime.console import Command
from pedseg_runtime.errors import CheckpointError
from pedseg_runtime.files import sha256_of
from pedseg_train.data import open_images

from .page import write_page
from .steps import Steps

WEIGHTS = Path(__file__).parents[1] / "weights" / "streets.safetensors"
SURE = "0.5"  # the artifact itself keeps everything above 0.05, as AP wants it
# Chosen so that install and demo take five minutes on two cores; a third of it is training.
NIGHT_SCENES = ("--images", "120", "--min-size", "180", "--max-size", "300", "--night")
NIGHT_SPLIT = ("--val", "0.06", "--test", "0.27")
NIGHT_TRAINING = "--preset smoke --epochs 3 --batch-size 2 --lr 0.0006 --schedule cosine"
FULL_SCENES = ("--images", "400")
FULL_TRAINING = "--preset smoke --test 40"


@click.command(cls=Command)
@click.option("--output", "out", type=click.Path(path_type=Path), default=Path("demo"))
@click.option("--data", type=click.Path(path_type=Path), help="Default: generated streets.")
@click.option("--full", is_flag=True, help="Train 400 daylight streets from random weights.")
@click.option("--train", help="Options for pedseg-train instead of the demo's own.")
def main(out: Path, data: Path | None, full: bool, train: str | None) -> None:
    """Run the steps in order, stop at the first that fails."""
    steps = Steps()
    out.mkdir(parents=True, exist_ok=True)
    given, data = data, data or out / "data"
    night = given is None and not full
    start = checked(WEIGHTS) if night else None
    if given is None:
        scenes = NIGHT_SCENES if night else FULL_SCENES
        steps.run("draw streets", "pedseg-data", "synthesize", data, *scenes, "--seed", 1)
    steps.run("check the data", "pedseg-data", "check", data)
    steps.run("look at the data", "pedseg-data", "show", data, "--output", out / "dataset.png")
    options = shlex.split(train or FULL_TRAINING)
    if start is not None:
        split = out / "split.json"
        steps.run("split it", "pedseg-data", "split", data, "--output", split, *NIGHT_SPLIT)
        options = ["--weights", start, "--split-file", split, *shlex.split(train or NIGHT_TRAINING)]
    run = out / "run"
    resume = (run / "last.resume.pt").exists()
    steps.run(
        "train",
        *("pedseg-train", "--data", data, "--output", run),
        *(["--resume"] if resume else options),
    )
    checkpoint = run / "best.safetensors"
    ship(steps, out, data, checkpoint, start)
    page = write_page(out, data=data, checkpoint=checkpoint, start=start, steps=steps)
    print(f"\nThe commands took {steps.seconds / 60:.1f} minutes. Open {page.resolve().as_uri()}")


def ship(steps: Steps, out: Path, data: Path, checkpoint: Path, start: Path | None) -> None:
    """Export, evaluate, predict with and benchmark what was trained.

    Args:
        steps: to add to.
        out: folder of the demo.
        data: the dataset.
        checkpoint: that was trained.
        start: that training started from, to be evaluated on the same images.
    """
    images = collect_held_out(data, checkpoint.parent / "split.json", out / "held_out")
    artifacts = [checkpoint.with_suffix(".onnx"), checkpoint.with_suffix(".torchscript")]
    for artifact in artifacts:
        steps.run(
            f"export to {artifact.suffix[1:]}",
            *("pedseg-export", checkpoint, "--format", artifact.suffix[1:]),
            *("--output", artifact, "--images", images, "--limit", "4"),
        )
    models = [checkpoint, *artifacts]
    split = ("--split-file", checkpoint.parent / "split.json")
    for model in [*([start] if start else []), *models]:
        name = "before" if model == start else model.suffix[1:]
        steps.run(
            f"evaluate {name}",
            *("pedseg-eval", model, "--data", data, *split),
            *("--output", out / f"accuracy-{name}.json"),
        )
    steps.run(
        "predict",
        *("pedseg-predict", artifacts[0], images, "--output", out / "predictions"),
        *("--score-threshold", SURE),
    )
    steps.run(
        "benchmark",
        *("pedseg-bench", "run", *models, "--images", images, "--limit", "2", "--rounds", "5"),
        *("--output", out / "benchmark.json", "--markdown", out / "benchmark.md"),
    )


def checked(weights: Path) -> Path:
    """The shipped weights, once their bytes have been compared with the digest beside them.

    Raises:
        CheckpointError: they are not what was shipped.
    """
    expected = weights.with_suffix(".sha256").read_text(encoding="utf-8").split()[0]
    found = sha256_of(weights)
    if found != expected:
        raise CheckpointError(
            f"{weights}: expected SHA-256 {expected}, found {found}; check the file out again"
        )
    return weights


def collect_held_out(data: Path, split: Path, folder: Path) -> Path:
    """Copy the images that training never saw into a folder of their own."""
    names = json.loads(split.read_text(encoding="utf-8"))["test"]
    folder.mkdir(exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    images = open_images(data)
    for name in names:
        path = images.path(images.names.index(name))
        shutil.copy(path, folder / f"{name.replace('/', '_')}{path.suffix}")
    return folder


if __name__ == "__main__":
    main(prog_name="python -m examples.demo")
