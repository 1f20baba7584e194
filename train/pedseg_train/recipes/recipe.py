"""A recipe: every number that decides how a model is trained, and its learning rate by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedseg_runtime.errors import InputError

from ..architectures import ANCHOR_SIZES, ARCHITECTURES
from ..class_map import parse_class_map
from ..parameter_groups import PARAMETER_GROUPS
from .fields import setting, settings_of

_WARMUP_START = 1 / 1000  # factor at the first step, as in torchvision


def step_factor(
    epoch: int, step: int, steps: int, *, every: int, gamma: float, warmup: int
) -> float:
    """StepLR with torchvision's warm-up, which ends within the first epoch.

    Args:
        epoch: counted from 0.
        step: within the epoch, counted from 0.
        steps: in the epoch.
        every: epochs between two decays.
        gamma: factor of a decay.
        warmup: steps of linear warm-up; at most those of the first epoch.
    """
    decayed: float = gamma ** (epoch // every)
    warmup = min(warmup, steps - 1)
    if epoch > 0 or step >= warmup:
        return decayed
    return decayed * _warmup_factor(step, warmup)


def cosine_factor(
    epoch: int, step: int, steps: int, *, epochs: int, final: float, warmup: int
) -> float:
    """Half a cosine from 1 to `final` over the whole run (Loshchilov and Hutter 2016).

    Args:
        epoch: counted from 0.
        step: within the epoch, counted from 0.
        steps: in the epoch.
        epochs: of the whole run.
        final: factor at the end.
        warmup: steps of linear warm-up over as many epochs as they take; at most half of the run.
    """
    total = epochs * steps
    done = epoch * steps + step
    warmup = min(warmup, total // 2)
    if done < warmup:
        return _warmup_factor(done, warmup)
    share = (done - warmup) / max(1, total - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2


def _warmup_factor(step: int, warmup: int) -> float:
    return _WARMUP_START + (1 - _WARMUP_START) * step / warmup


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained. The defaults are torchvision's fine-tuning tutorial.

    Every field but `preset` carries its own description, see `settings.Setting`.

    Attributes:
        preset: the preset that this recipe is or was derived from.
    """

    preset: str = "tutorial"

    architecture: str = setting(
        "maskrcnn_resnet50_fpn", "Network to train.", group="network", choices=(*ARCHITECTURES,)
    )
    weights: str = setting("coco", 'Starting weights: "coco", "imagenet", "none" or a file.')
    freeze: tuple[str, ...] = setting(
        ("stem",), "Parameter groups that keep their starting weights.", choices=PARAMETER_GROUPS
    )
    min_size: int = setting(800, "Shorter image side in pixels.", least=32)
    max_size: int = setting(1333, "Limit of the longer image side in pixels.", least=32)
    anchor_sizes: tuple[int, ...] = setting(
        ANCHOR_SIZES, "Anchor side in resized pixels, one per pyramid level.", least=1
    )
    box_batch: int = setting(512, "Boxes per image that the box head is trained on.", least=1)
    proposals: int = setting(2000, "Region proposals per image in training.", least=1)

    epochs: int = setting(10, "Passes over the training images.", group="length", least=1)
    batch_size: int = setting(2, "Images per step and process.", least=1)
    accumulate: int = setting(1, "Batches whose gradients make one step.", least=1)
    patience: int = setting(
        0, "Stop after so many epochs without a better mask AP; 0 never does.", least=0, exact=False
    )

    optimizer: str = setting("sgd", "Optimizer.", group="optimizer", choices=("sgd", "adamw"))
    lr: float = setting(0.005, "Learning rate before any decay.", least=0, above=True)
    momentum: float = setting(0.9, "Momentum of SGD.", least=0, most=1)
    weight_decay: float = setting(0.0005, "L2 penalty (SGD) or decoupled decay (AdamW).", least=0)
    norm_decay: bool = setting(True, "Weight decay on norms and biases too.")
    backbone_lr: float = setting(
        1.0, "Factor of the learning rate in the backbone's body.", least=0, above=True, most=10
    )
    layer_decay: float = setting(
        1.0, "Factor per stage of the body, counted from its end.", least=0, above=True, most=1
    )
    clip: float = setting(0.0, "Largest norm of the gradient; 0 does not limit it.", least=0)
    ema: float = setting(
        0.0, "Decay of the averaged weights, which are evaluated and saved; 0 is off.",
        least=0, most=0.999999,
    )  # fmt: skip

    schedule: str = setting(
        "step", "Learning-rate schedule.", group="schedule", choices=("step", "cosine")
    )
    warmup: int = setting(
        1000, "Steps of linear warm-up (step: at most the first epoch's).", least=0
    )
    lr_step: int = setting(3, "Step: epochs between two decays.", least=1)
    lr_gamma: float = setting(0.1, "Step: factor of a decay.", least=0, above=True, most=1)
    lr_final: float = setting(0.0, "Cosine: factor at the end.", least=0, most=1)

    flip: float = setting(
        0.5, "Probability of a horizontal flip.", group="augmentation", least=0, most=1
    )
    train_sizes: tuple[int, ...] = setting(
        (), "Shorter sides in training, one drawn per step; none given: min_size.", least=32
    )
    scale_min: float = setting(1.0, "Smallest factor of scale jitter.", least=0.05, most=10)
    scale_max: float = setting(1.0, "Largest factor of scale jitter.", least=0.05, most=10)
    crop: float = setting(0.0, "Probability of a crop around a person.", least=0, most=1)
    crop_min: float = setting(
        0.5, "Smallest fraction of each side that a crop keeps.", least=0, above=True, most=1
    )
    copy_paste: float = setting(
        0.0, "Probability of pasting people from another image.", least=0, most=1
    )
    brightness: float = setting(0.0, "Largest relative change of brightness.", least=0, most=1)
    contrast: float = setting(0.0, "Largest relative change of contrast.", least=0, most=1)
    saturation: float = setting(0.0, "Largest relative change of saturation.", least=0, most=1)
    hue: float = setting(0.0, "Largest shift of the hue, in turns.", least=0, most=0.5)
    grey: float = setting(0.0, "Probability of an image without colours.", least=0, most=1)

    amp: str = setting(
        "none", "Mixed precision; fp16 needs CUDA.", group="machine",
        choices=("none", "fp16", "bf16"),
    )  # fmt: skip
    channels_last: bool = setting(True, "Memory format of images and weights.", exact=False)
    compile: bool = setting(False, "Compile the backbone with torch.compile.", exact=False)
    workers: int = setting(
        4, "Processes that load images; 0 loads them in the training process.",
        least=0, exact=False,
    )  # fmt: skip

    seed: int = setting(1, "Of weights, split, order and augmentation.", group="data")
    categories: tuple[str, ...] = setting((), "Categories to learn; none given: all of them.")
    map: tuple[str, ...] = setting(
        (), "Other names for categories, as NAME=OTHER; several may become one."
    )
    test: int | None = setting(
        None, "Number of test images; the tutorial's 50 (a quarter of small datasets).", least=1
    )

    def __post_init__(self) -> None:
        # Labels follow the order of the dataset, whatever the order of these.
        object.__setattr__(self, "categories", tuple(sorted(set(self.categories))))
        object.__setattr__(self, "map", tuple(sorted(set(self.map))))
        parse_class_map(self.map)
        for described in settings_of(type(self)):
            described.check(getattr(self, described.name))
        if self.scale_min > self.scale_max:
            raise InputError(
                f"scale_min: expected at most scale_max ({self.scale_max}), found {self.scale_min}"
            )

    def learning_rate(self, epoch: int, step: int, steps: int) -> float:
        """The learning rate of one step, before the factors of parameter groups.

        Args:
            epoch: counted from 0.
            step: within the epoch, counted from 0.
            steps: in the epoch.
        """
        if self.schedule == "cosine":
            factor = cosine_factor(
                epoch, step, steps, epochs=self.epochs, final=self.lr_final, warmup=self.warmup
            )
        else:
            factor = step_factor(
                epoch, step, steps, every=self.lr_step, gamma=self.lr_gamma, warmup=self.warmup
            )
        return self.lr * factor

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON types."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Parse the result of `to_dict`; fields that an older pedseg lacked get their default.

        Raises:
            InputError: an unknown key or an invalid value.
        """
        tuples = {described.name for described in settings_of(cls) if described.many}
        settings: dict[str, Any] = dict(values)
        try:
            for name in tuples & settings.keys():
                settings[name] = tuple(settings[name])
            return cls(**settings)
        except TypeError as error:
            raise InputError(f"recipe: expected the settings of a Recipe ({error})") from error

    def differences(self, other: Recipe, *, ignoring: tuple[str, ...] = ()) -> list[str]:
        """The settings in which `other` differs, as lines `name: mine -> theirs`."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{name}: {mine[name]} -> {theirs[name]}"
            for name in mine
            if mine[name] != theirs[name] and name not in ignoring
        ]

    def resume_conflicts(self, other: Recipe) -> list[str]:
        """The differences that forbid resuming a run of this recipe with `other`.

        Other epochs are fine where the learning rate does not depend on their number.
        """
        free = [described.name for described in settings_of(type(self)) if not described.exact]
        if self.schedule == "step":
            free.append("epochs")
        return self.differences(other, ignoring=(*free, "preset"))
