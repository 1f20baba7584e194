"""What TensorBoard would show is what the records say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pedseg_train.evaluation import NUMBERS
from pedseg_train.report import open_tensorboard, tensorboard


def record(epoch, ap=0.5):
    return {
        "epoch": epoch, "lr": 0.01, "losses": {"loss": 2.0, "loss_mask": 1.0}, "seconds": 9.0,
        "evaluation_seconds": 1.0, "images_per_second": 7.5,
        "bbox": dict.fromkeys(NUMBERS, ap), "segm": dict.fromkeys(NUMBERS, None),
    }  # fmt: skip


def test_names_group_what_belongs_together():
    values = tensorboard.scalars(record(1))
    assert values["loss/sum"] == 2.0
    assert values["loss/mask"] == 1.0
    assert values["box/AP50"] == 0.5
    assert values["time/images_per_second"] == 7.5
    assert not any(name.startswith("mask/") for name in values)  # without meaning


def test_without_the_package_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda _name: None)
    lines = []
    assert open_tensorboard(tmp_path, notify=lines.append) is None
    assert lines == [tensorboard.HINT]
    assert not list(tmp_path.iterdir())


def test_events_can_be_read_back(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "panel.png")
    lines = []
    board = open_tensorboard(tmp_path, notify=lines.append)
    board(SimpleNamespace(history=[record(1, 0.2)]))
    board.after_epoch(record(2, 0.4), panel=tmp_path / "panel.png")
    board.close()
    assert lines == [f"to watch: tensorboard --logdir {tmp_path / 'tensorboard'}"]
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 4)) for e in events.Scalars("box/AP")] == [(1, 0.2), (2, 0.4)]
    assert events.Images("panel")[0].step == 2
