"""The tutorial's training loop, as torchvision's reference engine has it, and agreement with it.

Per step: move the images, sum the losses, read every loss from the device for the log, backward,
SGD step. Flips happen in the dataset, resizing in the network. Random draws come from the same
seeds as in pedseg's engine, so that both get the same images, flips and sampled boxes; the drawing
itself is torchvision's.

Losses must agree to a thousandth wherever both loops learn from the same boxes. Now and then
rounding makes two proposals with nearly equal scores change places; the sampler, which goes by
places, then draws another box, and the loss is the mean over 255 equal boxes and one other. Such a
flip is no difference of the loops: it is counted and shown, and says nothing for or against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

LOSS_LIMIT = 1e-3  # relative
SAME_PIXELS = 0.05  # within which two boxes are the same one, as in parity


class ReferenceSamples(Dataset[tuple[torch.Tensor, dict[str, Any]]]):
    """The tutorial's dataset: its transforms, drawn by the seeds of a plan.

    Args:
        dataset: all images, without transforms.
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
    """Torchvision's own sampler, with its generator seeded before each image."""

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


class DrawnBoxes:
    """The boxes that a network's box head learns from, of its last step.

    Args:
        model: whose pooler is watched.
    """

    def __init__(self, model: MaskRCNN) -> None:
        self._boxes: list[torch.Tensor] = []
        model.roi_heads.box_roi_pool.register_forward_pre_hook(self._keep)

    def _keep(self, _module: torch.nn.Module, inputs: Sequence[Any]) -> None:
        self._boxes = [boxes.detach() for boxes in inputs[1]]

    def same_as(self, other: DrawnBoxes) -> bool:
        """Whether the other network drew the same boxes, in whatever order."""
        return all(
            len(mine) == len(theirs) and _covers(mine, theirs) and _covers(theirs, mine)
            for mine, theirs in zip(self._boxes, other._boxes, strict=True)
        )


def _covers(some: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether each of `others` [M, 4] is close to one of `some` [N, 4]."""
    distances = torch.cdist(others, some, p=float("inf"))
    return bool((distances.amin(dim=1) <= SAME_PIXELS).all())


@dataclass(frozen=True, slots=True)
class Agreement:
    """Losses side by side.

    Attributes:
        reference, engine: the loss of each step.
        same_boxes: whether both drew the same boxes in that step.
    """

    reference: tuple[float, ...]
    engine: tuple[float, ...]
    same_boxes: tuple[bool, ...]

    @property
    def differences(self) -> tuple[float, ...]:
        """Relative difference of the losses of each step."""
        pairs = zip(self.reference, self.engine, strict=True)
        return tuple(abs(mine - theirs) / abs(mine) for mine, theirs in pairs)

    @property
    def largest(self) -> float:
        """The greatest difference of a step with the same boxes; infinite if there is none."""
        pairs = zip(self.differences, self.same_boxes, strict=True)
        return max((difference for difference, same in pairs if same), default=float("inf"))

    @property
    def flips(self) -> int:
        """Steps in which another box was drawn."""
        return self.same_boxes.count(False)

    def __bool__(self) -> bool:
        """Whether the losses agree; nothing compared is no agreement."""
        return self.largest <= LOSS_LIMIT

    def __str__(self) -> str:
        verdict = "equal" if self else "DIFFERENT"
        flips = f"; in {self.flips} of them rounding had another box drawn" if self.flips else ""
        return (
            f"losses of {len(self.reference)} steps: {verdict}, {self.largest:.1e} apart at most "
            f"(limit {LOSS_LIMIT:g}){flips}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {
            "equal": bool(self),
            "limit": LOSS_LIMIT,
            "largest": self.largest if self.flips < len(self.same_boxes) else None,
            "flips": self.flips,
            "reference": list(self.reference),
            "engine": list(self.engine),
            "same_boxes": list(self.same_boxes),
        }
