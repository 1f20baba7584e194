"""What training changes about torchvision's Mask R-CNN, and the one function that changes it.

    transform          images are batched without resizing, which the augmentation has done
    frozen_norms       a frozen batch norm is applied to the weights of the convolution before it
    region_proposals   the RPN head is differentiated at the sampled anchors only
    roi_align          on the CPU, RoIAlign is a weighted sum of rows
    box_sampling       anchors and proposals are drawn by a seed for each image

All but the last are for speed: losses and gradients are torchvision's up to rounding. The sampling
makes a run repeatable, and independent of the number of processes. In eval mode the network detects
as torchvision's does.

Modules keep their names and their parameters: a patch gives a module another class, or replaces a
part that has no state. A checkpoint of a patched network therefore shows nothing of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN

from ...recipes import Recipe
from .box_sampling import BoxSampling
from .frozen_norms import fold_frozen_norms
from .region_proposals import differentiate_samples_only
from .roi_align import pool_by_rows
from .transform import TrainingTransform

__all__ = ["BoxSampling", "patch_model"]


def patch_model(model: MaskRCNN, recipe: Recipe) -> BoxSampling:
    """Apply every patch to a network on its device, in place.

    Memory format and compilation are the recipe's. Under mixed precision the heads answer in
    float32: boxes in 16 bits would be off by pixels.

    Args:
        model: as `build_model` makes it; its state dict keeps names and values.
        recipe: the settings.

    Returns:
        The sampling of the model's boxes, whose seeds must be set before every batch.
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
    return BoxSampling(model)


def _to_float32(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
    """A forward hook: every tensor of nested lists and tuples as float32."""
    if isinstance(outputs, torch.Tensor):
        return outputs.float()
    return type(outputs)(_to_float32(_module, _inputs, output) for output in outputs)
