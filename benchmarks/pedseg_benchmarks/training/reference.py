"""The tutorial's training loop, as torchvision's reference engine has it.

Per step: move the pictures, sum the losses, read every loss from the device for the log, backward,
SGD step. Flips happen in the dataset, resizing in the network. What is drawn at random comes from
the same seeds as in pedseg's engine, so that both meet the same pictures, flips and sampled boxes;
the drawing itself is torchvision's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.transforms import v2

from pedseg_runtime.errors import TrainingError
from pedseg_train.data import SegmentationDataset
from pedseg_train.data.transforms import Draw
from pedseg_train.data.transforms.randomness import seeded
from pedseg_train.engine.batches import PlannedBatches, Step
from pedseg_train.recipes import Recipe


class ReferenceSamples(Dataset[tuple[torch.Tensor, dict[str, Any]]]):
    """The tutorial's dataset: its transforms, drawn by the seeds of a plan.

    Args:
        dataset: all pictures, without transforms.
        indices: the positions in `dataset` to train on.
        flip: probability of a horizontal flip.
    """

    def __init__(self, dataset: SegmentationDataset, indices: Sequence[int], flip: float) -> None:
        self._dataset = dataset
        self._indices = tuple(indices)
        self._transform = v2.Compose(
            [
                v2.ToImage(),
                v2.RandomHorizontalFlip(flip),
                v2.ToDtype(torch.float32, scale=True),
                v2.ToPureTensor(),
            ]
        )

    def __getitem__(self, draw: Draw) -> tuple[torch.Tensor, dict[str, Any]]:
        with seeded(draw.seed):
            image, target = self._transform(*self._dataset[self._indices[draw.position]])
        return image, target


class _SeededTorchvisionSampler:
    """Torchvision's own sampler, with its generator seeded before each picture."""

    def __init__(self, sampler: BalancedPositiveNegativeSampler) -> None:
        self._sampler = sampler
        self.seeds: Sequence[int] = ()

    def __call__(self, matched: list[torch.Tensor]) -> tuple[list[torch.Tensor], ...]:
        chosen: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for one, seed in zip(matched, self.seeds, strict=True):
            torch.manual_seed(seed)
            for mine, found in zip(chosen, self._sampler([one]), strict=True):
                mine.extend(found)
        return chosen


class ReferenceLoop:
    """Torchvision's loop over planned steps.

    Args:
        model: on `device`, as the tutorial builds it; is trained in place.
        samples: indexed by `Draw`.
        plan: the steps.
        recipe: optimizer, learning rate and workers.
        device: where the model lies.

    Attributes:
        model, optimizer: as they are after the last step.
    """

    def __init__(
        self,
        model: MaskRCNN,
        samples: ReferenceSamples,
        plan: Sequence[Step],
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self.model, self._recipe, self._device = model.train(), recipe, device
        self._plan = iter(enumerate(plan))
        self._steps = len(plan)
        batches = PlannedBatches()
        batches.plan = plan
        self._loader: Iterator[Any] = iter(
            DataLoader(
                samples, batch_sampler=batches, num_workers=recipe.workers, collate_fn=_collate
            )
        )
        self.optimizer = torch.optim.SGD(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self._samplers = [
            _SeededTorchvisionSampler(part.fg_bg_sampler) for part in (model.rpn, model.roi_heads)
        ]
        for part, sampler in zip((model.rpn, model.roi_heads), self._samplers, strict=True):
            part.fg_bg_sampler = sampler

    def step(self) -> float:
        """Fetch, train and log one step; the loss."""
        number, step = next(self._plan)
        (batch,) = step.batches
        for sampler in self._samplers:
            sampler.seeds = [draw.seed for draw in batch.draws]
        for group in self.optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate(0, number, self._steps)
        images, targets = next(self._loader)
        images = [image.to(self._device) for image in images]
        targets = [
            {k: v.to(self._device) if isinstance(v, torch.Tensor) else v for k, v in t.items()}
            for t in targets
        ]
        with torch.autocast(self._device.type, enabled=False):
            losses = self.model(images, targets)
            total = sum(loss for loss in losses.values())
        value = float(total.item())
        if not math.isfinite(value):
            raise TrainingError(f"reference loop: expected a finite loss, found {value}")
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        logged = {"loss": total, **losses}
        for loss in logged.values():
            loss.item()
        return value


def _collate(samples: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(zip(*samples, strict=True))
