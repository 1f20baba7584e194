"""Batched NMS in ONNX against torchvision's: bit for bit, on ordinary and on adversarial rows.

PEDSEG_NMS_ROWS=10000000 pytest -n0 -s tests/export/formats/test_onnx_nms.py
"""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from torch.export import Dim

from pedseg_export.formats.onnx_nms import float32_below
from pedseg_export.formats.onnx_rewrites import simplify, translations
from pedseg_export.graph.batched_nms import matrix_width

pytestmark = pytest.mark.slow

ROWS = int(os.environ.get("PEDSEG_NMS_ROWS", "6000"))
BATCH, ENTRIES, ROUNDS = 2000, 12, 4  # a chain of 12 boxes takes more than 4 rounds
TOGETHER = 16
THRESHOLD, FLOOR = 0.5, 0.1


class Suppression(torch.nn.Module):
    def __init__(self, *settings: float) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return torch.ops.pedseg.suppress_batched(boxes, scores, *self.settings)


def session_of(width: int, is_sorted: bool) -> Any:
    module = Suppression(THRESHOLD, FLOOR, width, is_sorted, ROUNDS)
    example = torch.zeros(3, ENTRIES, 4), torch.zeros(3, ENTRIES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module, example, dynamic_shapes=({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
        )
        converted = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=18,
            custom_translation_table=translations(),
            verbose=False,
            optimize=False,
        )
    simplify(converted.model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        converted.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def random_rows(generator: torch.Generator, count: int, entries: int) -> torch.Tensor:
    """Boxes of all densities."""
    density = torch.rand(count, 1, 1, generator=generator) * 100 + 5
    corner = torch.rand(count, entries, 2, generator=generator) * density
    extent = torch.rand(count, entries, 2, generator=generator) * 40
    return torch.cat([corner, corner + extent], 2)


def small_integers(generator: torch.Generator, count: int, entries: int) -> torch.Tensor:
    """Overlaps of exactly the threshold, boxes without area, many of them equal."""
    corner = torch.randint(0, 5, (count, entries, 2), generator=generator)
    extent = torch.randint(0, 5, (count, entries, 2), generator=generator)
    return torch.cat([corner, corner + extent], 2).float()


def identical_boxes(generator: torch.Generator, count: int, entries: int) -> torch.Tensor:
    """Copies of three boxes."""
    boxes = random_rows(generator, count, 3)
    chosen = torch.randint(0, 3, (count, entries, 1), generator=generator)
    return boxes.gather(1, chosen.expand(-1, -1, 4))


def chains(generator: torch.Generator, count: int, entries: int) -> torch.Tensor:
    """Each box overlaps its neighbours by a little more or less than the threshold."""
    step = torch.rand(count, 1, generator=generator) * 0.2 + 0.25  # IoU 0.5 is a step of 1/3
    x = torch.arange(entries) * step
    shifted = torch.stack([x, torch.zeros_like(x), x + 1, torch.ones_like(x)], 2)
    return shifted * 10


def distinct(generator: torch.Generator, count: int, entries: int) -> torch.Tensor:
    return torch.rand(count, entries, generator=generator)


def tied(generator: torch.Generator, count: int, entries: int) -> torch.Tensor:
    return torch.randint(0, 4, (count, entries), generator=generator) / 4


def falling(generator: torch.Generator, count: int, entries: int) -> torch.Tensor:
    """In the order of the boxes: a chain then takes as many rounds as it has boxes."""
    return (torch.rand(count, entries, generator=generator) * 0.8 + 0.15).sort(1, True).values


Maker = Callable[[torch.Generator, int, int], torch.Tensor]
KINDS: list[tuple[Maker, Maker]] = list(
    itertools.product(
        (random_rows, small_integers, identical_boxes, chains), (distinct, tied, falling)
    )
)


def batches(rows: int, batch: int, entries: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(rows)
    for number in range(-(-rows // batch)):
        boxes, scores = KINDS[number % len(KINDS)]
        yield boxes(generator, batch, entries), scores(generator, batch, entries)


def torchvisions(boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Boxes at or below the floor have the lowest scores, so they suppress no candidate."""
    nms = torch.ops.torchvision.nms
    kept = [nms(one, score, THRESHOLD) for one, score in zip(boxes, scores, strict=True)]
    row = torch.arange(len(kept)).repeat_interleave(torch.tensor([len(one) for one in kept]))
    answer = torch.full_like(scores, -1.0)
    answer[row, torch.cat(kept)] = scores[row, torch.cat(kept)]
    return torch.where(scores > FLOOR, answer, -1.0)


def torchvisions_side_by_side(boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The same for `TOGETHER` rows in one call, six times as fast.

    They are moved apart by 1024 pixels each, which is exact for multiples of 1/64 up to 2**18.
    """
    apart = torch.arange(len(boxes)).view(-1, 1, 1) % TOGETHER * torch.tensor([1024, 0, 1024, 0])
    joined = (boxes + apart).view(-1, TOGETHER * boxes.shape[1], 4)
    return torchvisions(joined, scores.view(len(joined), -1)).view(scores.shape)


@pytest.mark.parametrize(
    ("width", "is_sorted"),
    [(ENTRIES, False), (ENTRIES, True), (8, False)],
    ids=["any order", "sorted", "the best eight at once"],
)
def test_rows_are_those_of_torchvision(width: int, is_sorted: bool) -> None:
    session, start = session_of(width, is_sorted), time.perf_counter()
    different = compared = suppressed = 0
    for number, (boxes, scores) in enumerate(batches(-(-ROWS // 3), BATCH, ENTRIES)):
        reference = torchvisions
        if number >= len(KINDS):  # every kind has had its turn with coordinates of all bits
            boxes, reference = (boxes * 64).round() / 64, torchvisions_side_by_side
        if is_sorted:
            scores, order = scores.sort(dim=1, descending=True, stable=True)
            boxes = boxes.gather(1, order.unsqueeze(2).expand(-1, -1, 4))
        (found,) = session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})
        expected = reference(boxes, scores).numpy()
        different += int((found != expected).any(1).sum())
        suppressed += int((expected < 0).any(1).sum())
        compared += len(found)
    print(f"{compared} rows in {time.perf_counter() - start:.0f} s, {different} different")
    assert suppressed > compared / 2
    assert different == 0
    (found,) = session.run(None, {"boxes": boxes[:0].numpy(), "scores": scores[:0].numpy()})
    assert found.shape == (0, ENTRIES)


def test_the_threshold_is_compared_as_in_double_precision() -> None:
    """torchvision compares a float32 overlap with a double: 0.3 is below its own float32."""
    for threshold in (0.3, 0.5, 0.7):
        limit = np.float32(float32_below(threshold))
        above = np.nextafter(limit, np.float32(1))
        assert float(limit) <= threshold < float(above)
    assert torchvision.ops.nms(
        torch.tensor([[0.0, 0, 10, 1], [0, 0, 3, 1]]), torch.tensor([1.0, 0.5]), 0.3
    ).tolist() == [0], "an overlap of float32(0.3) is above 0.3"


def test_rows_of_many_classes_are_compared_in_part() -> None:
    assert matrix_width(1000, 1, 5_000_000) == matrix_width(1000, 5, 5_000_000) == 1000
    width = matrix_width(1000, 90, 5_000_000)
    assert width == 232
    assert matrix_width(4, 90, 1) == 4
