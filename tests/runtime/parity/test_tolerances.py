from __future__ import annotations

import dataclasses
import itertools

from pedseg_runtime.parity import FP32, TOLERANCES


def test_every_precision_has_its_limits() -> None:
    assert set(TOLERANCES) == {"fp32", "fp16", "bf16", "int8"}
    assert TOLERANCES["fp32"] is FP32
    assert dataclasses.asdict(FP32) == {
        "scores": 1e-4,
        "boxes": 0.05,
        "roi_masks": 1e-3,
        "masks": 0.01,
        "iou": 1e-3,
    }


def test_less_precision_is_allowed_more() -> None:
    """And never so much that soft masks or scores could be anything."""
    order = [dataclasses.astuple(TOLERANCES[name]) for name in ("fp32", "fp16", "bf16", "int8")]
    for finer, coarser in itertools.pairwise(order):
        assert all(a <= b for a, b in zip(finer, coarser, strict=True))
    assert TOLERANCES["int8"].roi_masks < 0.5
    assert TOLERANCES["int8"].scores <= 0.1
