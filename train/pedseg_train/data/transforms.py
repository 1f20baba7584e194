"""What happens to a sample between the file and the model; the tutorial's own steps."""

from __future__ import annotations

import torch
from torchvision.transforms import v2

from pedseg_runtime.errors import InputError


def training_transform(flip: float = 0.5) -> v2.Compose:
    """Mirror with probability `flip`, then as `evaluation_transform`.

    Boxes and masks are mirrored with the image. The draw comes from torch's global generator.
    """
    if not 0 <= flip <= 1:
        raise InputError(f"flip: expected a probability from 0 to 1, found {flip}")
    return v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(flip), *_to_tensors()])


def evaluation_transform() -> v2.Compose:
    """Image to a plain float32 tensor [3, H, W] in 0..1, target values to plain tensors."""
    return v2.Compose([v2.ToImage(), *_to_tensors()])


def _to_tensors() -> list[v2.Transform]:
    # Only images are converted and scaled: ToDtype leaves boxes and masks alone.
    return [v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
