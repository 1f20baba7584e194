"""The optimizer, with a learning rate and decay for each group of parameters."""

from __future__ import annotations

from typing import Any

import torch
from torchvision.models.detection import MaskRCNN

from ..architectures import ARCHITECTURES
from ..parts import parameter_group, stage_number
from ..recipes import Recipe

STAGES = 4


def make_optimizer(model: MaskRCNN, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the model's trainable parameters, fused where torch can."""
    groups = parameter_groups(model, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)


def parameter_groups(model: MaskRCNN, recipe: Recipe) -> list[dict[str, Any]]:
    """The trainable parameters, together where learning rate and decay are the same.

    Returns:
        One entry per group: params, weight_decay, and `factor`, by which the learning rate of every
        step is multiplied.
    """
    architecture = ARCHITECTURES[recipe.architecture]
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor, stage = 1.0, stage_number(parameter_group(name, model, architecture))
        if stage is not None:
            factor = recipe.backbone_lr * recipe.layer_decay ** (STAGES - stage)
        # Norms and biases are the parameters of one dimension.
        decays = recipe.norm_decay or parameter.ndim > 1
        decay = recipe.weight_decay if decays else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (factor, decay), parameters in groups.items()
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of the coming step in every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
