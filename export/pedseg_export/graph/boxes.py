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
    corner, far = torch.split(anchors, 2, dim=anchors.dim() - 1)
    shift, growth = torch.split(deltas, 2, dim=deltas.dim() - 1)
    size = far - corner
    half = 0.5 * size  # halving is exact, so it may precede the product
    center = shift * size + (corner + half)
    half = torch.exp(growth.clamp(max=bbox_clip)) * half
    return torch.cat([center - half, center + half], dim=-1)


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Clip boxes [..., 4] to `limits` [4] = width height width height, in pixels."""
    return torch.minimum(boxes.clamp(min=0.0), limits)


def large_enough(boxes: Tensor, side: float) -> Tensor:
    """Bool [...]: both sides of a box [..., 4] are at least `side` pixels.

    The axis is not -1: onnxruntime 1.31 does not reduce an empty tensor over a negative one.
    """
    corner, far = torch.split(boxes, 2, dim=boxes.dim() - 1)
    return (far - corner).amin(dim=boxes.dim() - 1) >= side


def probability(logits: Tensor) -> Tensor:
    """The sigmoid, accurate where it is small.

    onnxruntime's own on the CPU is off by up to 10 % near 1e-6, enough to change the order of
    weak proposals and thereby the result of NMS.
    """
    return torch.reciprocal(1.0 + torch.exp(-logits))
