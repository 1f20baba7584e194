"""From the client's pixels to the network's input: torchvision's `GeneralizedRCNNTransform`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from .sizes import int_vector, positive


class Preprocessing(nn.Module):
    """Normalise, resize and pad a batch of equally sized images."""

    def __init__(self, transform: GeneralizedRCNNTransform) -> None:
        super().__init__()
        self.block = int(transform.size_divisible)
        self.register_buffer("mean", torch.tensor(transform.image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(transform.image_std).view(1, 3, 1, 1))
        self.sides = [float(transform.min_size[-1]), float(transform.max_size)]
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, list[int], list[int]]:
        """Prepare uint8 images [N, H, W, 3], RGB.

        Returns:
            The network's input float32 [N, 3, h', w'], zero beyond the resized image; the resized
            image's height and width; and h' and w', multiples of 32.
        """
        resized = self.resized(images.shape[1], images.shape[2])
        blocks = torch.div(resized + (self.block - 1), self.block, rounding_mode="floor")
        height, width = positive(resized[0]), positive(resized[1])
        padded = [positive(blocks[0]) * self.block, positive(blocks[1]) * self.block]

        pixels = images.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        pixels = (pixels - self.mean) / self.std
        pixels = nn.functional.interpolate(
            pixels, size=[height, width], mode="bilinear", align_corners=False
        )
        pixels = nn.functional.pad(pixels, [0, padded[1] - width, 0, padded[0] - height])
        return pixels, [height, width], padded

    def resized(self, height: int, width: int) -> Tensor:
        """Size after `_resize_image_and_masks`, int64 [2] = height width.

        The scale is computed in float64, as eager's Python floats are. In float32, where tracing
        and scripting compute it, up to 45 % of image sizes come out one pixel off. The numerator
        is a tensor so that a division stays one: `number / tensor` becomes reciprocal * number.
        """
        size = int_vector([height, width], torch.device("cpu")).to(torch.float64)
        sides = torch.stack([size.min(), size.max()])
        scale = torch.div(torch.tensor(self.sides, dtype=torch.float64), sides).min()
        return torch.floor(size * scale).to(torch.int64)
