"""Batch norm with fixed statistics as part of the convolution before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def folded_parameters(convolution: nn.Conv2d, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [O, C, h, w] and bias [O] of a convolution that applies the norm after it, too.

    A norm with fixed statistics is a scale and a shift per channel, computed as torchvision's
    `FrozenBatchNorm2d` does.

    Args:
        convolution: whose output the norm reads; with or without a bias.
        norm: a `FrozenBatchNorm2d`, or a `BatchNorm2d` in eval mode, over O channels.
    """
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
    weight: torch.Tensor = convolution.weight * scale.reshape(-1, 1, 1, 1)
    return weight, shift
