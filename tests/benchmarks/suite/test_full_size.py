from __future__ import annotations

import copy

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner
from torchvision.ops import box_iou, masks_to_boxes

from pedseg_benchmarks.suite import full_size as command
from pedseg_benchmarks.suite.full_size import (
    FEWEST_COARSE,
    coarsen,
    full_size,
    street_with_people,
    threshold_for,
)
from pedseg_benchmarks.suite.layout import calibration_streets, measured_street
from pedseg_runtime.errors import InputError
from pedseg_train.checkpoint import load_checkpoint
from pedseg_train.eager import EagerSegmenter
from pedseg_train.models import build_model

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 240, 320


def small():
    return full_size(
        HEIGHT, WIDTH, architecture="maskrcnn_resnet10_fpn_lite", min_size=240, max_size=400
    )


@pytest.fixture(scope="module")
def made():
    """A small network made the same way."""
    return small()


def test_the_first_street_has_three_to_five_detections(made):
    model, street = made
    found = EagerSegmenter(model, class_names=("background", "person"))(street)
    assert 3 <= len(found) <= 5
    assert street.shape == (HEIGHT, WIDTH, 3)


def test_people_score_higher_than_what_is_elsewhere(made):
    """Only the last layers learn, and only to tell the people of its own streets apart."""
    model, street = made
    _, ids = street_with_people(1, 0, HEIGHT, WIDTH)
    people = masks_to_boxes(torch.from_numpy(ids == np.arange(1, ids.max() + 1)[:, None, None]))
    model.roi_heads.score_thresh = 0.0
    found = EagerSegmenter(model, class_names=("background", "person"))(street)
    overlap = box_iou(torch.from_numpy(found.boxes), people).amax(1).numpy()
    assert (overlap >= 0.5).any()
    assert found.scores[overlap >= 0.5].mean() > 0.1 + found.scores[overlap < 0.1].mean()


def test_coarse_weights_have_few_bits_and_are_hardly_off(made):
    model = copy.deepcopy(made[0])
    coarsen(model, 4)
    for name, weight in made[0].named_parameters():
        coarse = model.get_parameter(name)
        if weight.numel() < FEWEST_COARSE:
            assert torch.equal(coarse, weight)
            continue
        bits = coarse.detach().view(torch.int32)
        assert not (bits & ((1 << 19) - 1)).any(), "of 23 bits the last 19 are zero"
        assert (coarse - weight).abs().le(weight.abs() / 32).all()
    assert len(EagerSegmenter(model, class_names=("background", "person"))(made[1])) > 0


def test_the_command_writes_the_network_and_its_streets(monkeypatch, tmp_path):
    tiny = "maskrcnn_resnet10_fpn_lite"
    monkeypatch.setattr(command, "ARCHITECTURE", tiny)
    monkeypatch.setattr(command, "full_size", made_of)
    outcome = CliRunner().invoke(
        command.main,
        [str(tmp_path / "full.safetensors"), "--streets", str(tmp_path / "streets"),
         "--height", str(HEIGHT), "--width", str(WIDTH)],
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert load_checkpoint(tmp_path / "full.safetensors").header.architecture == tiny
    measured = np.asarray(PIL.Image.open(measured_street(tmp_path / "streets")))
    assert measured.shape == (HEIGHT, WIDTH, 3)
    others = sorted(calibration_streets(tmp_path / "streets").glob("*.png"))
    assert len(others) == command.CALIBRATION
    assert not any(np.array_equal(measured, PIL.Image.open(path)) for path in others)


def made_of(height, width, seed, mantissa_bits):
    """A network that was not fitted, and the first street."""
    assert mantissa_bits is None
    model = build_model(
        "maskrcnn_resnet10_fpn_lite", class_names=("background", "person"), min_size=64, max_size=96
    )
    return model, street_with_people(seed, 0, height, width)[0]


def test_the_same_seed_makes_the_same_network(made):
    model, _ = small()
    weights = model.roi_heads.box_predictor.cls_score.weight
    torch.testing.assert_close(weights, made[0].roi_heads.box_predictor.cls_score.weight)


def test_the_threshold_stands_in_the_widest_gap():
    scores = np.float32([0.9, 0.8, 0.7, 0.65, 0.3, 0.29, 0.1])
    assert threshold_for(scores) == pytest.approx(0.475)
    with pytest.raises(InputError, match="expected more than 5 detections"):
        threshold_for(scores[:5])


def test_a_street_for_the_measurement_has_three_to_five_people():
    for number in range(4):
        image, ids = street_with_people(1, number, 120, 160)
        assert 3 <= ids.max() <= 5
        assert image.shape == (*ids.shape, 3)
