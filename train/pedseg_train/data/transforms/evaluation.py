"""The transform for evaluation: unaugmented samples, as torchvision's models expect them."""

from __future__ import annotations

import torch
from torchvision.transforms import v2


def evaluation_transform() -> v2.Compose:
    """Image to a plain float32 tensor [3, H, W] in 0..1, target values to plain tensors."""
    # Only images are converted and scaled: ToDtype leaves boxes and masks alone.
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()])
