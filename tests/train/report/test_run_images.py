"""Images of a run: drawn for any history and any dataset, atomically."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pedseg_runtime.detections import Detections
from pedseg_train.evaluation import NUMBERS
from pedseg_train.report.run_images import GAP, PANEL_HEIGHT, TITLE_HEIGHT, save_curves, save_panel


def record(epoch, ap):
    numbers = dict.fromkeys(NUMBERS, ap)
    return {
        "epoch": epoch,
        "lr": 0.01 / epoch,
        "losses": {"loss": 2 / epoch, "loss_mask": 1 / epoch},
        "bbox": numbers,
        "segm": numbers,
        "seconds": 12.5,
        "evaluation_seconds": 2.0,
    }


@pytest.mark.slow
def test_curves_are_drawn_for_one_epoch_and_for_numbers_without_meaning(tmp_path):
    save_curves(tmp_path / "curves.png", [record(1, None)])
    save_curves(tmp_path / "curves.png", [record(1, None), record(2, 0.5)])
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert np.ptp(np.asarray(image.convert("L"))) > 100
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_panel_has_a_row_per_image_with_truth_on_the_left_only(toy, tmp_path):
    save_panel(tmp_path / "panel.png", lambda image: Detections.empty(image.shape[:2]), toy, [0, 1])
    with Image.open(tmp_path / "panel.png") as image:
        panel = np.asarray(image.convert("RGB")).astype(int)
    width = (panel.shape[1] - GAP) // 2
    assert panel.shape[0] == TITLE_HEIGHT + 2 * (PANEL_HEIGHT + GAP)
    first = panel[TITLE_HEIGHT : TITLE_HEIGHT + PANEL_HEIGHT]
    second = panel[TITLE_HEIGHT + PANEL_HEIGHT + GAP :][:PANEL_HEIGHT]
    assert np.abs(first[:, :width] - first[:, -width:]).max() > 50
    assert np.abs(second[:, :width] - second[:, -width:]).max() == 0  # nobody on the second image
