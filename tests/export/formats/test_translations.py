"""Small graphs through the real exporter and onnxruntime: the steps where formats drift apart."""

from __future__ import annotations

import math
import os
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim

from pedseg_export.formats.onnx_rewrites import translate_integer_division, translations
from pedseg_export.graph.boxes import large_enough, probability
from pedseg_export.graph.nms import nms, suppress_rows
from pedseg_export.graph.proposals import ProposalStage
from pedseg_export.graph.sizes import box_limits, int_vector, network_size
from pedseg_train.checkpoint import LoadedCheckpoint

pytestmark = pytest.mark.slow

MIN_SIZE, MAX_SIZE = 800, 1333
SIZES = int(os.environ.get("PEDSEG_SIZES", "200"))


def session_of(module: nn.Module, *args: torch.Tensor, dynamic: object) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), args, dynamic_shapes=dynamic, strict=False)
        converted = torch.onnx.export(
            program, (), dynamo=True, custom_translation_table=translations(), verbose=False
        )
    data = converted.model_proto.SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


class Geometry(nn.Module):
    """Everything that the graph computes from the size of an image, as one vector."""

    def __init__(self, stage: ProposalStage) -> None:
        super().__init__()
        self.stage = stage
        self.min_size, self.max_size = MIN_SIZE, MAX_SIZE

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        resized, padded = network_size(
            images.shape[1], images.shape[2], self.min_size, self.max_size, 32
        )
        frame = torch.zeros([1, 1, padded[0], padded[1]])
        levels = [nn.functional.avg_pool2d(frame, 4)]
        for _ in range(3):
            levels.append(nn.functional.avg_pool2d(levels[-1], 2))
        levels.append(nn.functional.max_pool2d(levels[-1], 1, 2))
        limits = box_limits(resized[0], resized[1], images.device)
        grid = self.stage.grid_of_slots(levels, padded, images.device)
        return torch.cat(
            [limits.to(torch.int64), int_vector(padded, images.device), grid.flatten()]
        )


def expected_geometry(height: int, width: int, per_level: int) -> list[int]:
    """The same by eager's arithmetic: Python floats, `AnchorGenerator`'s strides."""
    scale = min(MIN_SIZE / min(height, width), MAX_SIZE / max(height, width))
    resized = [math.floor(height * scale), math.floor(width * scale)]
    padded = [32 * math.ceil(side / 32) for side in resized]
    grids = [[side // stride for side in padded] for stride in (4, 8, 16, 32)]
    grids.append([(side - 1) // 2 + 1 for side in grids[-1]])
    rows, first = [], 0
    for rows_high, columns in grids:
        last = rows_high * columns - 1
        row = [first, last, columns, rows_high, padded[1] // columns, padded[0] // rows_high]
        rows += row * per_level
        first += 4 * rows_high * columns  # three rows of regressions, one of logits
    return [resized[1], resized[0], resized[1], resized[0], *padded, *rows]


def test_every_format_has_eagers_sizes_padding_and_strides(loaded: LoadedCheckpoint) -> None:
    """The stock ONNX export gets one size in seven wrong, TorchScript nearly every second."""
    stage = ProposalStage(loaded.model)
    stage.per_level = 1  # one slot per level says it all
    stage.level = torch.arange(stage.levels)
    module = Geometry(stage)
    images = torch.zeros((2, 30, 40, 3), dtype=torch.uint8)
    dynamic = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC},)
    stage.exports_operator = True
    session = session_of(module, images, dynamic=dynamic)
    stage.exports_operator = False
    exported = torch.export.export(module, (images,), dynamic_shapes=dynamic, strict=False).module()
    with pytest.warns(FutureWarning, match="deprecated"):
        scripted = torch.jit.script(module)
    random = np.random.default_rng(0)
    sizes = [(375, 500), (536, 559), (397, 396), *random.integers(16, 1600, (SIZES, 2)).tolist()]
    name = session.get_inputs()[0].name
    for height, width in sizes:
        expected = expected_geometry(height, width, 1)
        frame = np.zeros((1, height, width, 3), np.uint8)
        assert session.run(None, {name: frame})[0].tolist() == expected, (height, width)
        assert exported(torch.from_numpy(frame)).tolist() == expected, (height, width)
        assert scripted(torch.from_numpy(frame)).tolist() == expected, (height, width)


def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    return nms(boxes, scores, 0.5, 0.05)


class WeakScores(nn.Module):
    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return probability(logits)


def test_onnx_tells_weak_proposals_apart() -> None:
    """Near 1e-6 onnxruntime's own Sigmoid is 10 % off, and NMS goes by the order of scores."""
    logits = torch.linspace(-40, 40, 4001)
    session = session_of(WeakScores(), logits, dynamic=({0: Dim.DYNAMIC},))
    (found,) = session.run(None, {session.get_inputs()[0].name: logits.numpy()})
    np.testing.assert_allclose(found, torch.sigmoid(logits.double()).numpy(), rtol=1e-5)


def test_a_score_of_nothing_is_nothing() -> None:
    assert probability(torch.tensor([-math.inf, -200.0, 200.0])).tolist() == [0.0, 0.0, 1.0]


class LargeEnough(nn.Module):
    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        return large_enough(boxes, 0.01)


def test_onnx_bears_an_image_without_a_proposal() -> None:
    session = session_of(LargeEnough(), torch.rand(3, 2, 4), dynamic=({0: Dim.DYNAMIC},))
    name = session.get_inputs()[0].name
    assert session.run(None, {name: np.zeros((0, 2, 4), np.float32)})[0].shape == (0, 2)


class Suppress(nn.Module):
    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return nms(boxes, scores, 0.5, 0.05)


def test_onnx_suppresses_each_row_of_a_large_batch_as_torchvision_does() -> None:
    """Forty rows: offsetting boxes instead would move them by 50,000 pixels and lose their bits."""
    boxes, scores = torch.rand(3, 50, 4), torch.rand(3, 50)
    rows = {0: Dim.DYNAMIC}
    session = session_of(Suppress(), boxes, scores, dynamic=(rows, rows))
    corner = torch.rand(40, 50, 2) * 1200
    boxes = torch.cat([corner, corner + 20 + torch.rand(40, 50, 2) * 400], dim=2)
    scores = torch.rand(40, 50)
    scores[7] = 0.01  # nothing to keep in this row
    names = [item.name for item in session.get_inputs()]
    feed = dict(zip(names, (boxes.numpy(), scores.numpy()), strict=True))
    (found,) = session.run(None, feed)
    expected = suppress_rows(boxes, scores, 0.5, 0.05).numpy()
    np.testing.assert_array_equal(found, expected)
    assert 0 < (expected > 0).sum() < expected.size
    assert (expected[7] == -1).all()


def test_division_refuses_what_is_no_integer_division() -> None:
    class Floats:
        dtype = type("Kind", (), {"is_integer": staticmethod(lambda: False)})()

    with pytest.raises(TypeError, match="integer division"):
        translate_integer_division(Floats(), 2, rounding_mode="floor")
