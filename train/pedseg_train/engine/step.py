"""One step of the optimizer: targets checked, forward, losses checked, backward, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pedseg_runtime.errors import TrainingError

from ..data.transforms.randomness import mixed_seed
from ..recipes import Recipe
from .batches import Batch, Images, Step, Targets
from .processes import Processes
from .state import TrainingState, set_learning_rate

NameOf = Callable[[int], str]


def check_targets(targets: Sequence[dict[str, Any]], name_of: NameOf) -> None:
    """Torchvision fails on such boxes too, without saying which image they are from."""
    for target in targets:
        boxes = target["boxes"]
        bad = (boxes[:, 2:] <= boxes[:, :2]).any(dim=1).nonzero().flatten().tolist()
        if bad:
            raise TrainingError(
                f"{name_of(int(target['image_id']))}: expected boxes with width and height, found "
                f"{boxes[bad[0]].tolist()}; correct or remove that instance"
            )


def check_losses(
    values: Mapping[str, float],
    targets: Sequence[dict[str, Any]],
    name_of: NameOf,
    *,
    epoch: int,
    step: int,
) -> None:
    """Raise TrainingError if a loss is not finite; `epoch` and `step` are counted from 0."""
    if all(math.isfinite(value) for value in values.values()):
        return
    found = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    names = ", ".join(name_of(int(target["image_id"])) for target in targets)
    raise TrainingError(
        f"epoch {epoch + 1}, step {step + 1}: expected finite losses, found {found} on {names}; "
        "lower the learning rate, or look at these images' masks"
    )


_AMP = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Stepper:
    """What all steps of a run have in common.

    Attributes:
        wrapped: the state's model as it must be called, see `Processes.wrap`.
        recipe: the settings.
        device: where the model lies.
        processes: that train together.
        name_of: target's image_id -> the image's name, for errors.
    """

    wrapped: nn.Module
    recipe: Recipe
    device: torch.device
    processes: Processes
    name_of: NameOf

    def __call__(
        self,
        state: TrainingState,
        step: Step,
        fetched: Iterable[tuple[Images, Targets]],
        *,
        steps: int,
        stop: bool,
    ) -> tuple[dict[str, float], bool]:
        """Learn from one step's images.

        Args:
            state: its model and optimizer are changed.
            step: the plan.
            fetched: images and targets of its batches.
            steps: of the epoch, for the learning rate.
            stop: whether this process wants to stop.

        Returns:
            Torchvision's losses over the step's images and their sum as `loss`, and whether any
            process wants to stop.

        Raises:
            TrainingError: an image that cannot be trained on, or a loss that is not finite; the
                weights are those before the step.
        """
        epoch, number = state.epoch, state.progress.steps
        set_learning_rate(state.optimizer, self.recipe.learning_rate(epoch, number, steps))
        torch.manual_seed(mixed_seed(self.recipe.seed, epoch, number, self.processes.rank))
        state.optimizer.zero_grad()
        totals: dict[str, float] = {}
        for position, (batch, (images, targets)) in enumerate(
            zip(step.batches, fetched, strict=True)
        ):
            check_targets(targets, self.name_of)
            waiting = position + 1 < len(step.batches)
            with self.processes.later(self.wrapped) if waiting else torch.enable_grad():
                losses = self._forward(state, batch, images, targets)
                loss, values, stop = self._combine(state, batch, losses, targets, stop)
                state.scaler.scale(loss * batch.share).backward()  # type: ignore[no-untyped-call]
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + value * batch.share
        self._update(state)
        return {"loss": sum(totals.values()), **totals}, stop

    def _forward(
        self, state: TrainingState, batch: Batch, images: Images, targets: Targets
    ) -> dict[str, torch.Tensor]:
        state.sampling.seed([draw.seed for draw in batch.draws])
        amp = _AMP.get(self.recipe.amp)
        with torch.autocast(self.device.type, dtype=amp, enabled=amp is not None):
            losses: dict[str, torch.Tensor] = self.wrapped(
                [image.to(self.device, non_blocking=True) for image in images],
                [
                    {
                        key: value.to(self.device, non_blocking=True)
                        for key, value in target.items()
                        if isinstance(value, torch.Tensor)
                    }
                    for target in targets
                ],
            )
        return losses

    def _combine(
        self,
        state: TrainingState,
        batch: Batch,
        losses: dict[str, torch.Tensor],
        targets: Targets,
        stop: bool,
    ) -> tuple[torch.Tensor, dict[str, float], bool]:
        """The loss to differentiate, every loss over all processes, and whether to stop.

        Each of torchvision's losses is a mean over boxes. A mean over the boxes of all processes is
        not the mean of their means: each is weighted by its share of the boxes.
        """
        names = list(losses)
        stacked = torch.stack([losses[name].float() for name in names])
        values = stacked.tolist()
        found = {"loss": sum(values), **dict(zip(names, values, strict=True))}
        check_losses(found, targets, self.name_of, epoch=state.epoch, step=state.progress.steps)
        world = self.processes.world
        if world == 1:
            return stacked.sum(), dict(zip(names, values, strict=True)), stop
        counts = torch.tensor(
            [state.sampling.counts()[name] for name in names], dtype=torch.float64
        )
        counts *= batch.counts
        sums = counts * torch.tensor(values, dtype=torch.float64)
        told = torch.cat([counts, sums, torch.tensor([float(stop)], dtype=torch.float64)])
        told = self.processes.total(told.to(self.device)).cpu()
        all_counts, all_sums = told[: len(names)].clamp_min(1), told[len(names) : -1]
        weights = (world * counts / all_counts).to(stacked)
        means = (all_sums / all_counts).tolist()
        return (stacked * weights).sum(), dict(zip(names, means, strict=True)), bool(told[-1] > 0)

    def _update(self, state: TrainingState) -> None:
        if self.recipe.clip:
            state.scaler.unscale_(state.optimizer)
            parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.average is not None:
            state.average.update_parameters(state.model)
