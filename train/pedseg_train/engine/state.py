"""Everything that changes while training, so that saving it is saving the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.errors import TrainingError

from ..recipes import Recipe
from .average import WeightAverage
from .history import Record
from .parameters import make_optimizer
from .preparation import prepare
from .sampling import BoxSampling


@dataclass
class EpochProgress:
    """How far the epoch in hand has come.

    Attributes:
        steps: finished ones.
        images: pictures of these, over all processes.
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
        average: of the weights, if the recipe wants it.
        progress: within the epoch after those in the history.
        history: one record per finished epoch.
    """

    model: MaskRCNN
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    sampling: BoxSampling
    average: WeightAverage | None
    progress: EpochProgress = field(default_factory=EpochProgress)
    history: list[Record] = field(default_factory=list)

    @classmethod
    def start(cls, model: MaskRCNN, recipe: Recipe) -> TrainingState:
        """The state before the first step; `model` lies on its device and is prepared in place."""
        average = WeightAverage(model, recipe.ema) if recipe.ema else None
        prepare(model, recipe)
        return cls(
            model,
            make_optimizer(model, recipe),
            torch.amp.GradScaler(
                next(model.parameters()).device.type, enabled=recipe.amp == "fp16"
            ),
            BoxSampling(model),
            average,
        )

    @property
    def measured(self) -> MaskRCNN:
        """The network that is evaluated and saved as the checkpoint."""
        return self.average.model if self.average else self.model

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
            "average": self.average.state_dict() if self.average else None,
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
            if self.average:
                self.average.load_state_dict(saved["average"])
            self.progress = EpochProgress(**saved["progress"])
            self.history = list(saved["history"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise TrainingError(
                f"resume state: does not fit this run ({error}); start the run again"
            ) from error
