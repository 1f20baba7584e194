"""The runtime's account of RoIAlign's jump, held against torchvision's own RoIAlign."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from pedseg_runtime.parity import Settings
from pedseg_runtime.parity.flip_margins import roi_align_margin

pytestmark = pytest.mark.slow

RULES = Settings(0.05, 0.5, 100, min_size=192, max_size=320)


def pooled(box: np.ndarray, scale: float) -> torch.Tensor:
    """What the mask head would pool from features that are 1 everywhere, [14, 14]."""
    rois = torch.from_numpy(np.concatenate([[0.0], box * scale]))[None]
    return roi_align(torch.ones(1, 1, 48, 48, dtype=torch.float64), rois, 14, 0.25, 2)[0, 0]


@given(
    size=st.sampled_from([96, 192, 384]),
    start=st.floats(0.96, 0.999),
    width=st.floats(1e-4, 0.04),
    point=st.integers(0, 27),
    shift=st.floats(1e-6, 1e-3),
)
@settings(max_examples=300, deadline=None)
def test_masks_are_excused_only_where_torchvisions_features_jump(size, start, width, point, shift):
    scale = 192 / size
    at_point = (48 - (point + 0.5) / 28) * 4 / scale  # a widened box from here has a point there
    for x in (start * size, at_point - shift / 2):
        boxes = [
            np.array([left, 0.3 * size, min(left + width * size, size), 0.7 * size])
            for left in (x, x + shift)
        ]
        jumped = bool((pooled(boxes[0], scale) - pooled(boxes[1], scale)).abs().max() > 1e-3)
        explained = roi_align_margin(*boxes, (size, size), RULES) is not None
        if jumped:
            assert explained
        elif explained:  # the margin allows for float32's rounding, no more
            wider = [
                box + np.array([delta, 0, delta, 0])
                for box, delta in zip(boxes, (-shift - 4e-4, shift + 4e-4), strict=True)
            ]
            assert (pooled(wider[0], scale) - pooled(wider[1], scale)).abs().max() > 1e-3
