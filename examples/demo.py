"""The whole line with visible commands: data, training, export, prediction, benchmark.

    python examples/demo.py --output demo              # generated streets
    python examples/demo.py --output demo --data DIR   # a Penn-Fudan folder or COCO JSON

Each step is one pedseg command, printed before it runs; type them yourself the next time.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pedseg_train.data import open_images

SCENES = "400"
SURE = "0.5"  # the artifact itself keeps everything above 0.05, as AP wants it


def main() -> None:
    """Run the steps in order, stop at the first that fails."""
    parser = argparse.ArgumentParser(description="the whole line, step by step")
    parser.add_argument("--output", type=Path, default=Path("demo"))
    parser.add_argument("--data", type=Path, help="default: generated streets")
    parser.add_argument(
        "--train", default="--preset smoke --test 40", help="options for pedseg-train"
    )
    options = parser.parse_args()
    out, data = options.output, options.data or options.output / "data"
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    if options.data is None:
        run("pedseg-data", "synthesize", data, "--images", SCENES, "--seed", "1")
    run("pedseg-data", "check", data)
    run("pedseg-data", "show", data, "--output", out / "dataset.png")

    folder = out / "run"
    if (folder / "last.resume.pt").exists():
        run("pedseg-train", "--data", data, "--output", folder, "--resume")
    else:
        run("pedseg-train", "--data", data, "--output", folder, *shlex.split(options.train))
    images = collect_held_out(data, folder / "split.json", out / "held_out")

    checkpoint = folder / "best.safetensors"
    artifacts = [checkpoint.with_suffix(".onnx"), checkpoint.with_suffix(".torchscript")]
    for artifact in artifacts:
        run(
            *("pedseg-export", checkpoint, "--format", artifact.suffix[1:]),
            *("--output", artifact, "--images", images, "--limit", "4"),
        )
    for model in (checkpoint, *artifacts):
        run("pedseg-eval", model, "--data", data, "--output", accuracy_file(out, model))
    run(
        *("pedseg-predict", artifacts[0], images, "--output", out / "predictions"),
        *("--score-threshold", SURE),
    )
    run(
        *("pedseg-bench", "run", checkpoint, *artifacts, "--images", images),
        *("--limit", "3", "--rounds", "5", "--output", out / "benchmark.json"),
        *("--markdown", out / "benchmark.md"),
    )
    summarise(out, [checkpoint, *artifacts], time.monotonic() - start)


def run(*command: object) -> None:
    """Print a command and run it; a failure ends the demo with its exit code."""
    words = [str(word) for word in command]
    print(f"\n$ {shlex.join(words)}", flush=True)
    done = subprocess.run(words)
    if done.returncode:
        sys.exit(done.returncode)


def collect_held_out(data: Path, split: Path, folder: Path) -> Path:
    """Copy the images that training never saw into a folder of their own."""
    names = json.loads(split.read_text())["test"]
    folder.mkdir(exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    images = open_images(data)
    for name in names:
        path = images.path(images.names.index(name))
        shutil.copy(path, folder / f"{name.replace('/', '_')}{path.suffix}")
    return folder


def accuracy_file(out: Path, model: Path) -> Path:
    """Where the accuracy of a checkpoint or an artifact is written."""
    return out / f"accuracy-{model.suffix[1:]}.json"


def summarise(out: Path, models: list[Path], seconds: float) -> None:
    """Print the accuracies side by side and the files to open."""
    print(f"\nThe whole line took {seconds / 60:.1f} minutes. Accuracy on the held-out images:\n")
    print(f"  {'':<14}{'box AP':>8}{'AP50':>8}{'mask AP':>10}{'AP50':>8}")
    for model in models:
        found = json.loads(accuracy_file(out, model).read_text())
        box, mask = found["bbox"], found["segm"]
        values = f"{box['AP']:>8.3f}{box['AP50']:>8.3f}{mask['AP']:>10.3f}{mask['AP50']:>8.3f}"
        print(f"  {model.suffix[1:]:<14}{values}")
    files = {
        "dataset.png": "the dataset: image, ids, outlines",
        "run/curves.png": "losses and AP by epoch",
        "run/panel.png": "held-out images, ground truth beside prediction",
        "predictions": "what the ONNX artifact found on every held-out image",
        "benchmark.md": "how fast, compared with eager PyTorch",
        "run/best.onnx": "the artifact to deploy",
    }
    print("\nOpen:")
    for name, meaning in files.items():
        print(f"  {out / name!s:<28} {meaning}")


if __name__ == "__main__":
    main()
