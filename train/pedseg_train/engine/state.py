"""Everything that changes while training: network, optimizer, averaged weights, history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.errors import TrainingError

from ..architectures import ARCHITECTURES
from ..parameter_groups import parameter_group, stage_number
from ..recipes import Recipe
from .model_patches import BoxSampling, patch_model

Record = dict[str, Any]


def best_record(history: Sequence[Record]) -> Record:
    """The record with the highest mask AP, the earliest of equals."""
    return max(history, key=lambda record: record["segm"]["AP"] or 0.0)


def is_exhausted(history: Sequence[Record], patience: int) -> bool:
    """Whether `patience` epochs have passed without a better mask AP; 0 has no end."""
    if not patience or not history:
        return False
    return bool(history[-1]["epoch"] - best_record(history)["epoch"] >= patience)


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


_Tensors = list[torch.Tensor] | tuple[torch.Tensor, ...]


@dataclass
class EpochProgress:
    """How far the epoch in hand has come.

    Attributes:
        steps: finished ones.
        images: images of these, over all processes.
        seconds: spent on them.
        losses: sum over the steps of every loss.
    """

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)


@dataclass
class TrainingState:
    """The state of a run.

    Random numbers are no part of it: every draw is a function of the recipe's seed, the epoch and
    the place within it.

    Attributes:
        model: on the training device, prepared for training.
        optimizer: over its trainable parameters.
        scaler: of the loss, idle but for fp16.
        sampling: of the model's boxes.
        average: exponential moving average of the weights, if the recipe wants it.
        progress: within the epoch after those in the history.
        history: one record per finished epoch.
    """

    model: MaskRCNN
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    sampling: BoxSampling
    average: AveragedModel | None
    progress: EpochProgress = field(default_factory=EpochProgress)
    history: list[Record] = field(default_factory=list)

    @classmethod
    def start(cls, model: MaskRCNN, recipe: Recipe) -> TrainingState:
        """The state before the first step; `model` lies on its device and is prepared in place."""
        average = averaged_model(model, recipe.ema) if recipe.ema else None
        sampling = patch_model(model, recipe)
        return cls(
            model,
            make_optimizer(model, recipe),
            torch.amp.GradScaler(
                next(model.parameters()).device.type, enabled=recipe.amp == "fp16"
            ),
            sampling,
            average,
        )

    @property
    def measured(self) -> MaskRCNN:
        """The network that is evaluated and saved as the checkpoint."""
        if self.average is None:
            return self.model
        averaged: MaskRCNN = self.average.module
        return averaged

    @property
    def epoch(self) -> int:
        """The epoch in hand, counted from 0."""
        return len(self.history)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, lists and dicts that `load_state_dict` continues from."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None
            if self.average is None
            else {
                "model": self.average.module.state_dict(),
                "steps": int(self.average.n_averaged) - 1,
            },
            "progress": vars(self.progress),
            "history": self.history,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue where `saved` was made.

        Raises:
            TrainingError: it is of another network, recipe or version.
        """
        try:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scaler.load_state_dict(saved["scaler"])
            if self.average is not None:
                self.average.module.load_state_dict(saved["average"]["model"])
                self.average.n_averaged.fill_(saved["average"]["steps"] + 1)
            self.progress = EpochProgress(**saved["progress"])
            self.history = list(saved["history"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise TrainingError(
                f"resume state: does not fit this run ({error}); start the run again"
            ) from error


def averaged_model(model: MaskRCNN, decay: float) -> AveragedModel:
    """A copy of `model` that follows it by an exponential moving average.

    The decay grows from 0.1 towards its full value as (1 + t) / (10 + t) at step t, so that the
    starting weights are forgotten in a short run, too. Batch norm statistics are averaged as well,
    counters are copied.

    Args:
        model: is copied.
        decay: share of the average that a step leaves, 0..1.
    """

    @torch.no_grad()
    def follow(averages: _Tensors, current: _Tensors, updates: torch.Tensor | int) -> None:
        if averages[0].is_floating_point():
            share = min(decay, int(updates) / (int(updates) + 9))
            torch._foreach_lerp_(averages, current, 1 - share)
        else:
            torch._foreach_copy_(averages, current)

    averaged = AveragedModel(model, multi_avg_fn=follow, use_buffers=True).requires_grad_(False)
    averaged.n_averaged.fill_(1)  # at 0 the first step would copy the weights
    return averaged
