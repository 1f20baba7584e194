"""The backbone: from the network's input to the feature pyramid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from .normalisation import folded


class Backbone(nn.Module):
    """torchvision's `BackboneWithFPN`, with batch norm folded."""

    def __init__(self, backbone: BackboneWithFPN, dtype: torch.dtype = torch.float32) -> None:
        """Copy the submodules of a trained backbone, which is not changed.

        Raises:
            ValueError: the top of the pyramid is not `LastLevelMaxPool`.
        """
        super().__init__()
        if not isinstance(backbone.fpn.extra_blocks, LastLevelMaxPool):
            raise ValueError(
                f"expected a pyramid topped by LastLevelMaxPool, found {backbone.fpn.extra_blocks}"
            )
        plain = folded(backbone).to(dtype)
        self.body = plain.body
        self.lateral = plain.fpn.inner_blocks
        self.output = plain.fpn.layer_blocks

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The pyramid of `pixels` [N, 3, h, w], finest level first, each [N, C, h', w'].

        torchvision enlarges a level to the size of the next finer one. Both sides of the input
        are multiples of the coarsest stride, so that the factor is always 2. With a constant factor
        onnxruntime keeps its own layout and fuses the addition into the convolution.
        """
        stages = list(self.body(pixels).values())
        merged: list[Tensor] = []
        for index, lateral in enumerate(self.lateral):
            merged.append(lateral(stages[index]))
        for level in range(len(merged) - 1, 0, -1):
            doubled = nn.functional.interpolate(merged[level], scale_factor=2.0, mode="nearest")
            merged[level - 1] = merged[level - 1] + doubled
        pyramid: list[Tensor] = []
        for index, output in enumerate(self.output):
            pyramid.append(output(merged[index]))
        pyramid.append(nn.functional.max_pool2d(pyramid[-1], kernel_size=1, stride=2))
        return pyramid
