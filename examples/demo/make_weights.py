"""Make examples/weights/streets.safetensors, the checkpoint that the short demo starts from.

    python -m examples.demo.make_weights BUILD

Draws daylight streets, trains the demo's network on them in two runs, the second with a lower
rate, averaged weights and streets that the first has not seen, and keeps the result in half
precision. About half an hour on two cores. BUILD keeps the runs: a second call goes on where
the first was stopped.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from pedseg_runtime.files import replacing, sha256_of
from pedseg_train.checkpoint import HEADER_KEY, read_header, read_tensors

from .steps import Steps

TARGET = Path(__file__).parents[1] / "weights" / "streets.safetensors"
FIRST = ("--preset", "smoke", "--test", 40)
SECOND = (
    *("--preset", "smoke", "--test", 40, "--epochs", 1, "--warmup", 50),
    *("--lr", 0.001, "--lr-step", 2, "--lr-gamma", 0.4, "--ema", 0.99),
)


def main(build: Path) -> None:
    """Train, and write the weights and their digest."""
    steps = Steps()
    first = trained(steps, build / "first", 400, 1, *FIRST)
    second = trained(steps, build / "second", 840, 2, *SECOND, "--weights", first)
    keep(second, TARGET)


def trained(steps: Steps, folder: Path, images: int, seed: int, *options: object) -> Path:
    """The best checkpoint of a run on generated streets."""
    data, run = folder / "data", folder / "run"
    if not (data / "synthesis.json").exists():
        steps.run(
            "draw streets", "pedseg-data", "synthesize", data, "--images", images, "--seed", seed
        )
    resume = (run / "last.resume.pt").exists()
    steps.run(
        "train", "pedseg-train", "--data", data, "--output", run,
        *(["--resume"] if resume else options),
    )  # fmt: skip
    return run / "best.safetensors"


def keep(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint in half precision, and its digest beside it for `sha256sum --check`."""
    tensors = {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor
        for name, tensor in read_tensors(checkpoint).items()
    }
    header = read_header(checkpoint)
    recipe = {**header.recipe, "weights": Path(header.recipe["weights"]).name}  # no path of ours
    text = dataclasses.replace(header, recipe=recipe).to_json()
    with replacing(target) as temporary:
        save_file(tensors, temporary, metadata={HEADER_KEY: text})
    line = f"{sha256_of(target)}  {target.name}\n"
    target.with_suffix(".sha256").write_text(line, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
