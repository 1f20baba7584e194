"""Batches without resizing: the augmentation has brought the images to their final size already."""

from __future__ import annotations

import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform


class TrainingTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Torchvision's own, but for images that the augmentation has brought to their final size.

    In eval mode it is torchvision's.

    Args:
        transform: whose settings are taken over.
        memory_format: of the batch.
    """

    def __init__(
        self, transform: GeneralizedRCNNTransform, memory_format: torch.memory_format
    ) -> None:
        super().__init__(
            transform.min_size,
            transform.max_size,
            transform.image_mean,
            transform.image_std,
            transform.size_divisible,
            _skip_resize=True,
        )
        self._memory_format = memory_format

    def forward(
        self, images: list[torch.Tensor], targets: list[dict[str, torch.Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, torch.Tensor]] | None]:
        """Normalise and batch; in eval mode resize, too."""
        batch, targets = super().forward(images, targets)
        batch.tensors = batch.tensors.contiguous(memory_format=self._memory_format)
        return batch, targets
