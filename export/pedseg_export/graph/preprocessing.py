"""From image pixels to the network's input: torchvision's `GeneralizedRCNNTransform`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from .sizes import network_size


class Preprocessing(nn.Module):
    """Normalise, resize and pad a batch of equally sized images."""

    def __init__(self, transform: GeneralizedRCNNTransform) -> None:
        super().__init__()
        self.block = int(transform.size_divisible)
        self.register_buffer("mean", torch.tensor(transform.image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(transform.image_std).view(1, 3, 1, 1))
        self.min_size = int(transform.min_size[-1])
        self.max_size = int(transform.max_size)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, list[int]]:
        """Prepare uint8 images [N, H, W, 3], RGB.

        Returns:
            The network's input float32 [N, 3, h', w'], both sides multiples of 32 and zero beyond
            the resized image; height and width of the resized image.
        """
        resized, padded = network_size(
            images.shape[1], images.shape[2], self.min_size, self.max_size, self.block
        )
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        pixels = (pixels - self.mean) / self.std
        pixels = nn.functional.interpolate(
            pixels, size=resized, mode="bilinear", align_corners=False
        )
        below, right = padded[0] - resized[0], padded[1] - resized[1]
        return nn.functional.pad(pixels, [0, right, 0, below]), resized
