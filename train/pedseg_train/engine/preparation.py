"""What is changed about torchvision's network for training; a checkpoint shows nothing of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from ..recipes import Recipe
from .folding import fold_frozen_norms
from .pooling import pool_by_rows
from .region_proposals import differentiate_samples_only


class TrainingTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Torchvision's own, but for pictures that the augmentation has brought to their final size.

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


def prepare(model: MaskRCNN, recipe: Recipe) -> MaskRCNN:
    """Make a network on its device ready to be trained fast, in place.

    Batches are made without resizing, frozen norms are folded, proposals and pooling are
    differentiated by cheaper ways, and memory format and compilation are the recipe's. Under mixed
    precision the heads answer in float32: boxes in 16 bits would be off by pixels.

    Args:
        model: as `build_model` makes it; its state dict keeps names and values.
        recipe: the settings.
    """
    memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model.transform = TrainingTransform(model.transform, memory_format)
    fold_frozen_norms(model.backbone)
    differentiate_samples_only(model)
    pool_by_rows(model)
    model.to(memory_format=memory_format)
    if recipe.amp != "none":
        for part in (model.rpn.head, model.roi_heads.box_predictor, model.roi_heads.mask_predictor):
            part.register_forward_hook(_to_float32)
    if recipe.compile:
        model.backbone.compile(dynamic=True)
    return model


def _to_float32(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
    """A forward hook: every tensor of nested lists and tuples as float32."""
    if isinstance(outputs, torch.Tensor):
        return outputs.float()
    return type(outputs)(_to_float32(_module, _inputs, output) for output in outputs)
