"""Box arithmetic on whole tensors: two coordinates at a time, never one by one.

Every operation here is a kernel launch in a deployed graph; decoding coordinate by coordinate, as
torchvision does, takes four times as many.
"""

from __future__ import annotations

import torch
from torch import Tensor


def decode(anchors: Tensor, deltas: Tensor, bbox_clip: float) -> Tensor:
    """Apply regressions to boxes, as `torchvision.models.detection._utils.BoxCoder.decode_single`.

    Args:
        anchors: float32 [..., 4], x1 y1 x2 y2.
        deltas: float32 [..., 4], dx dy dw dh, already divided by the coder's weights.
        bbox_clip: upper limit of dw and dh before the exponential.

    Returns:
        float32 [..., 4], x1 y1 x2 y2.
    """
    corner = anchors[..., :2]
    size = anchors[..., 2:] - corner
    center = deltas[..., :2] * size + (corner + 0.5 * size)
    half = 0.5 * (torch.exp(deltas[..., 2:].clamp(max=bbox_clip)) * size)
    return torch.cat([center - half, center + half], dim=-1)


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Clip boxes [..., 4] to `limits` [4] = width height width height, in pixels."""
    return torch.minimum(boxes.clamp(min=0.0), limits)


def large_enough(boxes: Tensor, side: float) -> Tensor:
    """Bool [...]: both sides of a box [..., 4] are at least `side` pixels."""
    return (boxes[..., 2:] - boxes[..., :2]).amin(dim=-1) >= side
