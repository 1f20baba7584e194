"""Small graphs through the real exporter and onnxruntime: the steps where formats drift apart."""

from __future__ import annotations

import math
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from pedseg_export.formats.translations import divide, translations
from pedseg_export.graph.preprocessing import Preprocessing
from pedseg_export.graph.suppression import suppress, suppress_rows

MIN_SIZE, MAX_SIZE = 800, 1333


def session_of(module: nn.Module, *args: torch.Tensor, dynamic: object) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), args, dynamic_shapes=dynamic, strict=False)
        converted = torch.onnx.export(
            program, (), dynamo=True, custom_translation_table=translations(), verbose=False
        )
    data = converted.model_proto.SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


class ResizedSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = Preprocessing(
            GeneralizedRCNNTransform(MIN_SIZE, MAX_SIZE, [0.5] * 3, [0.5] * 3)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.step.resized(images.shape[1], images.shape[2])


def test_onnx_resizes_every_image_as_eager_does() -> None:
    """The stock export gets one size in seven wrong, TorchScript nearly every second."""
    images = torch.zeros((2, 30, 40, 3), dtype=torch.uint8)
    dynamic = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC},)
    session = session_of(ResizedSize(), images, dynamic=dynamic)
    with pytest.warns(FutureWarning, match="deprecated"):
        scripted_step = torch.jit.script(ResizedSize())
    random = np.random.default_rng(0)
    sizes = [(375, 500), (536, 559), (397, 396), *random.integers(16, 1200, (400, 2)).tolist()]
    name = session.get_inputs()[0].name
    for height, width in sizes:
        scale = min(MIN_SIZE / min(height, width), MAX_SIZE / max(height, width))
        expected = [math.floor(height * scale), math.floor(width * scale)]
        frame = np.zeros((1, height, width, 3), np.uint8)
        assert session.run(None, {name: frame})[0].tolist() == expected, (height, width)
        assert scripted_step(torch.from_numpy(frame)).tolist() == expected, (height, width)


class Suppress(nn.Module):
    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return suppress(boxes, scores, 0.5, 0.05)


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
        divide(Floats(), 2, rounding_mode="floor")
