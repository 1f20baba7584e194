"""The race compares like with like, and says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pedseg_benchmarks.training.cli import main

TINY = [
    "--architecture", "maskrcnn_resnet10_fpn_lite", "--weights", "none", "--min-size", "48",
    "--max-size", "64", "--box-batch", "16", "--proposals", "50", "--batch-size", "2",
    "--warmup-steps", "1", "--steps", "2", "--device", "cpu", "--threads", "1", "--lr", "0.001",
]  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Eight pictures of one bright person each; two are left for testing."""
    root = tmp_path_factory.mktemp("street")
    for folder in ("PNGImages", "PedMasks"):
        (root / folder).mkdir()
    for number in range(8):
        ids = np.zeros((48, 60), np.uint8)
        ids[10:40, 10 + number : 25 + number] = 1
        noise = np.random.default_rng(number).integers(0, 80, (48, 60, 3), np.uint8)
        Image.fromarray(np.where(ids[..., None] == 1, np.uint8(220), noise)).save(
            root / "PNGImages" / f"p{number}.png"
        )
        Image.fromarray(ids).save(root / "PedMasks" / f"p{number}_mask.png")
    return root


def invoke(street, *arguments):
    return CliRunner().invoke(main, ["--data", str(street), *TINY, *arguments])


def test_both_loops_learn_the_same(street, tmp_path):
    result = invoke(street, "--json", "--output", str(tmp_path / "race.json"))
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "race.json").read_text())
    assert document["equal"]
    assert document["loss_difference"] < 1e-4
    assert len(document["losses"]["engine"]) == document["compared"] == 3
    assert document["reference"]["count"] == document["engine"]["count"] == 2
    assert document["recipe"]["min_size"] == 48


def test_a_difference_fails_with_its_size(street, monkeypatch):
    monkeypatch.setattr("pedseg_benchmarks.training.race.LOSS_LIMIT", -1.0)
    result = invoke(street)
    assert result.exit_code == 1
    assert "DIFFERENT" in result.stdout
    assert "the times compare unlike things" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ema", "0.9"], "ema: expected 0.0, as in the reference loop"),
        (["--steps", "50"], "steps: expected at most 2 for 6 pictures, found 50"),
    ],
    ids=["recipe", "steps"],
)
def test_what_cannot_be_compared_is_refused(street, arguments, message):
    result = invoke(street, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
