"""The page at the end of the demo: what happened, images, numbers, and what to do next."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pedseg_runtime import __version__
from pedseg_runtime.files import replacing
from pedseg_train.presentation.page import render

from .images import held_out_images
from .steps import Steps

NAMES = {"before": "before fine-tuning", "safetensors": "checkpoint, eager PyTorch",
         "onnx": "ONNX artifact", "torchscript": "TorchScript artifact"}  # fmt: skip
FILES = {
    "run/best.onnx": "the artifact to deploy",
    "run/best.onnx.md": "its model card",
    "run/best.safetensors": "the checkpoint it was made from",
    "run/report.html": "the training run: curves, misses and false alarms, every setting",
    "dataset.png": "some of the data: image, ids, outlines",
    "predictions/": "what the artifact found on every held-out image",
    "benchmark.md": "all figures of the benchmark, with what speaks against them",
}


def write_page(
    out: Path, *, data: Path, checkpoint: Path, start: Path | None, steps: Steps
) -> Path:
    """Write OUT/index.html, a page that needs no network, and OUT/held_out.jpg, its first images.

    Args:
        out: folder of the demo, where its steps have written their files.
        data: the dataset.
        checkpoint: that was trained.
        start: checkpoint that training started from, if it was one of the demo's.
        steps: the commands that were run.

    Returns:
        The page.
    """
    accuracy = {
        name: read(path) for name in NAMES if (path := out / f"accuracy-{name}.json").exists()
    }
    benchmark = read(out / "benchmark.json")
    images = held_out_images(
        data, checkpoint.parent / "split.json", checkpoint.with_suffix(".onnx"), start
    )
    images[0].strip().save(out / "held_out.jpg", quality=85)
    html = render(
        __package__,
        "demo.html.jinja",
        title="pedseg demo",
        answer=answer(accuracy, benchmark, steps),
        tiles=tiles(accuracy, benchmark, steps),
        steps=[(step.purpose, step.command, f"{step.seconds:.0f} s") for step in steps],
        images=images,
        accuracy=[accuracy_row(NAMES[name], found) for name, found in accuracy.items()],
        parity=[parity_row(one) for one in benchmark["contenders"] if one["parity"]],
        speed=[speed_row(one) for one in benchmark["contenders"]],
        settled=all(one["stable"] for one in benchmark["contenders"]),
        machine=benchmark["environment"],
        files=[(name, text) for name, text in FILES.items() if (out / name).exists()],
        out=out,
        version=__version__,
        today=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )
    page = out / "index.html"
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def read(path: Path) -> dict[str, Any]:
    """A JSON file of one of the commands."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def answer(accuracy: dict[str, Any], benchmark: dict[str, Any], steps: Steps) -> str:
    """The page in two sentences."""
    after, images = accuracy["safetensors"], accuracy["safetensors"]["images"]
    score = after["segm"]["AP50"]
    learned = f"the network finds people on {images} images it never saw with a mask AP50 of"
    if "before" in accuracy:
        first = (
            f"A network that knows daylight was fine-tuned on night scenes: {learned} "
            f"{score:.2f}, {accuracy['before']['segm']['AP50']:.2f} before."
        )
    else:
        first = f"A network was trained: {learned} {score:.2f}."
    compared = [one for one in benchmark["contenders"] if one["parity"]]
    same = all(one["passed"] for one in compared)
    kinds = " and ".join(NAMES[one["format"]] for one in compared)
    second = f"{kinds} {'give' if same else 'do NOT give'} the answers of its checkpoint."
    return f"{first} {second} All of it took {steps.seconds / 60:.1f} minutes."


def tiles(
    accuracy: dict[str, Any], benchmark: dict[str, Any], steps: Steps
) -> list[tuple[str, str, str]]:
    """The figures at the top: figure, name, remark."""
    score = accuracy["safetensors"]["segm"]["AP50"]
    before = accuracy.get("before")
    found = f"{before['segm']['AP50']:.2f} → {score:.2f}" if before else f"{score:.2f}"
    compared = [one["parity"] for one in benchmark["contenders"] if one["parity"]]
    pairs = sum(one["counts"]["matched"] for one in compared)
    defects = sum(one["counts"]["defects"] for one in compared)
    timed = [one for one in benchmark["contenders"] if one["latency"]]  # none of a wrong answer
    fastest = min(timed, key=lambda one: one["latency"]["p50"])
    return [
        (found, "mask AP50", "held-out images; 1 is perfect"),
        (f"{defects} of {pairs}", "detections that differ", "artifacts against eager PyTorch"),
        (f"{fastest['latency']['p50']:.0f} ms", "per image", f"{fastest['name']}, on this CPU"),
        (f"{steps.seconds / 60:.1f} min", "for all steps", f"{len(steps.done)} commands"),
    ]


def accuracy_row(name: str, found: dict[str, Any]) -> list[str]:
    """Box and mask accuracy of one model, with the interval of its mask AP."""
    box, mask = found["bbox"], found["segm"]
    interval = found["intervals"].get("segm", {}).get("AP")
    sure = f"{interval['low']:.3f} to {interval['high']:.3f}" if interval else "–"
    numbers = (box["AP"], box["AP50"], mask["AP50"], mask["AP"])
    return [name, *(f"{number:.3f}" for number in numbers), sure]


def parity_row(contender: dict[str, Any]) -> list[str]:
    """How far an artifact is from eager, each figure beside its limit."""
    counts = contender["parity"]["counts"]
    fields = [
        f"{field['max']:.1e} of {field['limit']:g}" for field in contender["parity"]["fields"]
    ]
    verdict = "passed" if contender["passed"] else "FAILED"
    return [
        contender["name"], verdict, str(counts["matched"]),
        str(counts["benign_flips"]), str(counts["defects"]), *fields,
    ]  # fmt: skip


def speed_row(contender: dict[str, Any]) -> list[str]:
    """Latency of one contender and its ratio to eager."""
    ratio, latency = contender["speedup"], contender["latency"]
    size = f"{contender['size_bytes'] / 1e6:.1f}"
    if latency is None:
        return [contender["name"], "–", "–", "not timed: wrong answers", size]
    times = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else "1"
    return [contender["name"], f"{latency['p50']:.0f}", f"{latency['p90']:.0f}", times, size]
