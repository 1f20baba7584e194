"""Training recipes: every number that decides how a model is trained, and the presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pedseg_runtime.errors import InputError

from .architectures import ANCHOR_SIZES

OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained. The defaults are torchvision's fine-tuning tutorial.

    Attributes:
        preset: the preset that this recipe is or was derived from.
        architecture: a name of `models.ARCHITECTURES`.
        weights: "coco", "imagenet", "none" or the path of a weights file.
        min_size, max_size: resize rule, shorter and longer image side in pixels.
        anchor_sizes: anchor side in resized pixels per pyramid level.
        box_batch: boxes per image that the box head is trained on.
        proposals: region proposals per image in training.
        epochs: passes over the training pictures.
        batch_size: pictures per step.
        workers: processes that load pictures; 0 loads them in the training process.
        flip: probability of a horizontal flip.
        optimizer: "sgd" or "adamw".
        lr: learning rate before any decay.
        momentum: of SGD.
        weight_decay: L2 penalty (SGD) or decoupled decay (AdamW).
        lr_step: the learning rate is multiplied by `lr_gamma` every so many epochs.
        lr_gamma: factor of that decay.
        warmup: steps of linear warm-up in the first epoch, at most the epoch's own.
        seed: of the weights, the split, the order of pictures and their flips.
        test: number of test pictures, None for the tutorial's 50 (a quarter of small datasets).
    """

    preset: str = "tutorial"
    architecture: str = "maskrcnn_resnet50_fpn"
    weights: str = "coco"
    min_size: int = 800
    max_size: int = 1333
    anchor_sizes: tuple[int, ...] = ANCHOR_SIZES
    box_batch: int = 512
    proposals: int = 2000
    epochs: int = 10
    batch_size: int = 2
    workers: int = 4
    flip: float = 0.5
    optimizer: str = "sgd"
    lr: float = 0.005
    momentum: float = 0.9
    weight_decay: float = 0.0005
    lr_step: int = 3
    lr_gamma: float = 0.1
    warmup: int = 1000
    seed: int = 1
    test: int | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise InputError(
                f"optimizer: expected {' or '.join(OPTIMIZERS)}, found {self.optimizer!r}"
            )
        for name in ("epochs", "batch_size", "lr_step", "box_batch", "proposals"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"lr: expected a number above 0, found {self.lr}")

    def learning_rate(self, epoch: int, step: int, steps: int) -> float:
        """The learning rate of one step; what StepLR and torchvision's warm-up make of it.

        Args:
            epoch: counted from 0.
            step: within the epoch, counted from 0.
            steps: in the epoch.
        """
        decayed = self.lr * self.lr_gamma ** (epoch // self.lr_step)
        warmup = min(self.warmup, steps - 1)
        if epoch > 0 or step >= warmup:
            return decayed
        start = 1 / 1000
        return decayed * (start + (1 - start) * step / warmup)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON types."""
        return {**dataclasses.asdict(self), "anchor_sizes": list(self.anchor_sizes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Parse what `to_dict` made.

        Raises:
            InputError: a key or value that is none of a recipe.
        """
        try:
            return cls(**{**values, "anchor_sizes": tuple(values["anchor_sizes"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"recipe: expected the settings of a Recipe ({error})") from error

    def differences(self, other: Recipe, *, ignoring: tuple[str, ...] = ()) -> list[str]:
        """Where `other` differs, as lines `name: mine -> theirs`."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{name}: {mine[name]} -> {theirs[name]}"
            for name in mine
            if mine[name] != theirs[name] and name not in ignoring
        ]


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        # https://docs.pytorch.org/tutorials/intermediate/torchvision_tutorial.html
        "tutorial": Recipe(),
        # Learns generated scenes from random weights within minutes on two CPU cores.
        "smoke": Recipe(
            preset="smoke",
            architecture="maskrcnn_resnet10_fpn_lite",
            weights="none",
            min_size=192,
            max_size=320,
            anchor_sizes=(16, 32, 64, 128, 256),
            box_batch=128,
            proposals=200,
            epochs=9,
            batch_size=4,
            workers=0,
            optimizer="adamw",
            lr=2e-3,
            weight_decay=0.01,
            lr_step=3,
            lr_gamma=0.35,
            warmup=20,
        ),
    }
)
