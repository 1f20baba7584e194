"""The race compares like with like, and says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from pedseg_benchmarks.training.__main__ import main
from pedseg_benchmarks.training.reference import Agreement, DrawnBoxes
from pedseg_train.models import build_model

pytestmark = pytest.mark.slow

TINY = [
    "--architecture", "maskrcnn_resnet10_fpn_lite", "--weights", "none", "--min-size", "48",
    "--max-size", "64", "--box-batch", "16", "--proposals", "50", "--batch-size", "2",
    "--warmup-steps", "1", "--steps", "2", "--device", "cpu", "--threads", "1", "--lr", "0.001",
    "--workers", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Eight images of one bright person each; two are left for testing."""
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
    losses = document["losses"]
    assert losses["equal"]
    assert losses["largest"] < 1e-4
    assert len(losses["engine"]) == len(losses["reference"]) == len(losses["same_boxes"]) == 3
    assert document["cpu_speedup"]["median"] > 0
    assert document["reference"]["count"] == document["engine"]["count"] == 2
    assert document["recipe"]["min_size"] == 48


def test_a_difference_fails_with_its_size(street, monkeypatch):
    monkeypatch.setattr("pedseg_benchmarks.training.reference.LOSS_LIMIT", -1.0)
    result = invoke(street)
    assert result.exit_code == 1
    assert "DIFFERENT" in result.stdout
    assert "the times compare unlike things" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ema", "0.9"], "ema: expected 0.0, as in the reference loop"),
        (["--steps", "50"], "steps: expected at most 2 for 6 images, found 50"),
    ],
    ids=["recipe", "steps"],
)
def test_what_cannot_be_compared_is_refused(street, arguments, message):
    result = invoke(street, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_flipped_box_says_nothing_for_or_against():
    agreement = Agreement((2.0, 2.0, 2.0), (2.0, 2.0001, 2.1), (True, True, False))
    assert agreement
    assert (agreement.flips, agreement.largest) == (1, pytest.approx(5e-5))
    assert "in 1 of them rounding had another box drawn" in str(agreement)
    assert not Agreement((2.0,), (2.1,), (True,))
    assert not Agreement((2.0,), (2.0,), (False,)), "nothing compared"


def test_boxes_are_compared_in_any_order():
    models = [build_model("maskrcnn_resnet10_fpn_lite") for _ in range(2)]
    one, other = map(DrawnBoxes, models)
    features = {str(level): torch.zeros(1, 64, 8, 8) for level in range(4)}
    boxes = torch.tensor([[0.0, 0, 8, 8], [4, 4, 20, 30]])

    def pool(moved):
        models[0].roi_heads.box_roi_pool(features, [boxes], [(64, 64)])
        models[1].roi_heads.box_roi_pool(features, [moved], [(64, 64)])
        return one.same_as(other)

    assert pool(boxes.flip(0) + 0.01)
    assert not pool(boxes + torch.tensor([0.0, 0, 0, 1]))
    assert not pool(boxes[:1])
