"""The demo's own parts: its weights, its steps, and the page at its end."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from examples.demo import page
from examples.demo.__main__ import WEIGHTS, checked
from examples.demo.images import HeldOutImage
from examples.demo.make_weights import keep
from examples.demo.steps import Step, Steps
from PIL import Image

from pedseg_runtime.errors import CheckpointError
from pedseg_train.checkpoint import load_checkpoint, read_header, read_tensors
from pedseg_train.recipes import RECIPES

LATENCY = {"p50": 40.0, "p90": 50.0}


def contender(name: str, **facts: Any) -> dict[str, Any]:
    return {
        "name": name, "format": name, "parity": None, "passed": True, "stable": True,
        "latency": LATENCY, "speedup": None, "size_bytes": 5_000_000, **facts,
    }  # fmt: skip


def accuracy(score: float) -> dict[str, Any]:
    numbers = {"AP": score / 2, "AP50": score}
    interval = {"AP": {"low": 0.1, "high": 0.9}}
    return {"bbox": numbers, "segm": numbers, "images": 32, "intervals": {"segm": interval}}


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the steps leave it, as far as the page reads it."""
    parity = {
        "counts": {"matched": 48, "benign_flips": 0, "defects": 0},
        "fields": [{"max": 1e-5, "limit": 1e-4}] * 3,
    }
    ratio = {"median": 1.2, "low": 1.1, "high": 1.3}
    benchmark = {
        "environment": {"cpu": {"model": "<CPU>", "usable_cores": 2}},
        "contenders": [
            contender("torch"),
            contender("onnx", parity=parity, speedup=ratio, latency={"p50": 31.0, "p90": 33.0}),
        ],
    }
    (tmp_path / "benchmark.json").write_text(json.dumps(benchmark))
    for name, score in (("before", 0.41), ("safetensors", 0.73), ("onnx", 0.73)):
        (tmp_path / f"accuracy-{name}.json").write_text(json.dumps(accuracy(score)))
    drawings = {caption: Image.new("RGB", (40, 30)) for caption in ("ground truth", "before")}
    monkeypatch.setattr(
        page, "held_out_images", lambda *_: [HeldOutImage("street_00007", drawings)]
    )
    (tmp_path / "dataset.png").touch()
    return tmp_path


def write(folder: Path) -> str:
    steps = Steps([Step("train", "pedseg-train --data demo/data", 90.0)])
    checkpoint = folder / "run" / "best.safetensors"
    written = page.write_page(
        folder, data=folder / "data", checkpoint=checkpoint, start=None, steps=steps
    )
    return written.read_text(encoding="utf-8")


def test_the_page_says_what_was_learnt_and_that_the_answers_are_the_same(demo: Path) -> None:
    html = write(demo)
    for words in (
        "a mask AP50 of 0.73, 0.41 before",
        "ONNX artifact give the answers of its checkpoint",
        "0.41 → 0.73",
        "0 of 48",
        "<b>31 ms</b>",
        "pedseg-train --data demo/data",
        "street_00007, before",
        '<a href="dataset.png">',
        "&lt;CPU&gt;",
    ):
        assert words in html
    with Image.open(demo / "held_out.jpg") as strip:
        assert strip.size == (88, 30)
    assert "http" not in html, "the page needs no network"
    assert "best.onnx.md" not in html, "a file that is not there"


def test_the_page_does_not_hide_a_failure(demo: Path) -> None:
    benchmark = json.loads((demo / "benchmark.json").read_text())
    benchmark["contenders"][1] |= {"passed": False, "stable": None, "latency": None}
    benchmark["contenders"][1]["parity"]["counts"]["defects"] = 3
    (demo / "benchmark.json").write_text(json.dumps(benchmark))
    html = write(demo)
    for words in ("do NOT give the answers", "3 of 48", "FAILED", "not timed: wrong answers"):
        assert words in html


def test_the_shipped_weights_are_those_of_the_demos_network_in_half_precision() -> None:
    assert checked(WEIGHTS) == WEIGHTS
    assert WEIGHTS.stat().st_size < 5.5e6
    assert read_header(WEIGHTS).architecture == RECIPES["smoke"].architecture
    floats = [tensor for tensor in read_tensors(WEIGHTS).values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float16}
    loaded = load_checkpoint(WEIGHTS)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    for file in (WEIGHTS, WEIGHTS.with_suffix(".sha256")):
        shutil.copy(file, tmp_path / file.name)
    damaged = tmp_path / WEIGHTS.name
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="expected SHA-256"):
        checked(damaged)


def test_weights_are_kept_with_their_header_and_digest(tmp_path: Path) -> None:
    target = tmp_path / "kept.safetensors"
    keep(WEIGHTS, target)
    assert read_header(target) == read_header(WEIGHTS)
    digest, name = target.with_suffix(".sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256(target.read_bytes()).hexdigest(), target.name)


def test_a_step_is_shown_and_timed_and_a_failure_ends_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps()
    options = ("--images", 1, "--max-size", 240)
    steps.run("draw streets", "pedseg-data", "synthesize", tmp_path / "streets", *options)
    assert capsys.readouterr().out.startswith("\n$ pedseg-data synthesize")
    (step,) = steps
    assert (step.purpose, step.seconds > 0) == ("draw streets", True)
    with pytest.raises(SystemExit) as end:
        steps.run("fail", "pedseg-data", "check", tmp_path / "nowhere")
    assert end.value.code == 1
    assert len(steps.done) == 1
