"""Which images make which step, in which process, and the loader that fetches them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pedseg_runtime.errors import PedsegError, TrainingError, first_line

from ..data.transforms import Draw
from ..data.transforms.randomness import mixed_seed
from ..recipes import Recipe
from .processes import SIGNALS

Sample = tuple[torch.Tensor, dict[str, Any]]
Images = tuple[torch.Tensor, ...]
Targets = tuple[dict[str, Any], ...]

_ORDER, _SIZE, _IMAGE = range(3)  # what a seed is for


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process feeds to the network at once.

    Attributes:
        draws: the images.
        share: of the step's images, over all processes, that all processes' batches hold.
        counts: False for a stand-in: this process has no image left in the epoch, and joins in
            with one that must not matter.
    """

    draws: tuple[Draw, ...]
    share: float
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the optimizer.

    Attributes:
        batches: in the order in which their gradients are added up.
        images: images of the step over all processes.
    """

    batches: tuple[Batch, ...]
    images: int


def plan_epoch(
    count: int, recipe: Recipe, epoch: int, *, rank: int = 0, world: int = 1
) -> list[Step]:
    """The steps of an epoch, as one of `world` processes sees them.

    The images of a step, their seeds and sizes depend on how many it has, not on how they are
    spread over processes and batches.

    Args:
        count: training images.
        recipe: the settings.
        epoch: counted from 0.
        rank: which process, counted from 0.
        world: number of processes.
    """
    generator = torch.Generator().manual_seed(mixed_seed(recipe.seed, _ORDER, epoch))
    order = torch.randperm(count, generator=generator).tolist()
    together = recipe.batch_size * world
    per_step = together * recipe.accumulate
    sizes = recipe.train_sizes or (recipe.min_size,)
    steps = []
    for begin in range(0, count, per_step):
        size = sizes[mixed_seed(recipe.seed, _SIZE, epoch, begin // per_step) % len(sizes)]
        draws = [
            Draw(order[at], mixed_seed(recipe.seed, _IMAGE, epoch, at), size)
            for at in range(begin, min(begin + per_step, count))
        ]
        parts = [draws[at : at + together] for at in range(0, len(draws), together)]
        batches = tuple(_batch(part, len(draws), rank, world) for part in parts)
        steps.append(Step(batches, len(draws)))
    return steps


def _batch(part: Sequence[Draw], images: int, rank: int, world: int) -> Batch:
    mine = tuple(part[rank::world])
    return Batch(mine or (part[0],), len(part) / images, counts=bool(mine))


class PlannedBatches(Sampler[list[Draw]]):
    """The batches of the steps in `plan`, which may be set anew before every epoch."""

    def __init__(self) -> None:
        self.plan: Sequence[Step] = ()

    def __iter__(self) -> Iterator[list[Draw]]:
        return (list(batch.draws) for step in self.plan for batch in step.batches)

    def __len__(self) -> int:
        return sum(len(step.batches) for step in self.plan)


class StepLoader:
    """Fetches the images of planned steps; its workers live until it is closed.

    Args:
        samples: indexed by `Draw`.
        recipe: how many workers.
        device: images for CUDA are put into pinned memory.
    """

    def __init__(self, samples: Dataset[Sample], recipe: Recipe, device: torch.device) -> None:
        self._planned = PlannedBatches()
        self._loader = DataLoader(
            _Guarded(samples),
            batch_sampler=self._planned,
            num_workers=recipe.workers,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
            persistent_workers=recipe.workers > 0,
            generator=torch.Generator().manual_seed(recipe.seed),
            worker_init_fn=_leave_signals_to_the_trainer,
        )

    def steps(
        self, plan: Sequence[Step]
    ) -> Iterator[tuple[Step, Iterator[tuple[Images, Targets]]]]:
        """Every step with its batches' images and targets; use them up before the next."""
        self._planned.plan = plan
        fetched = iter(self._loader)
        for step in plan:
            yield step, (_sound(fetched) for _ in step.batches)

    def close(self) -> None:
        """End the workers.

        An error on its way out keeps the loader alive through its traceback, and the interpreter
        would wait without end for workers that ignore the signal it sends them.
        """
        iterator = self._loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            for worker in iterator._workers:  # type: ignore[attr-defined]
                if worker.is_alive():  # stuck in a read: it had its time to end
                    worker.kill()
            self._loader._iterator = None


class _Guarded(Dataset[Any]):
    """Samples, or the error of one: a worker would add its call stack to the message."""

    def __init__(self, samples: Dataset[Sample]) -> None:
        self._samples = samples

    def __getitem__(self, draw: Any) -> Sample | Exception:
        try:
            return self._samples[draw]
        except (PedsegError, OSError) as error:
            return error


def _sound(fetched: Iterator[tuple[Images, Targets] | Exception]) -> tuple[Images, Targets]:
    """The next batch; its error is raised here, in the trainer."""
    try:
        batch = next(fetched)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"expected workers that load images, found that one ended ({first_line(error)}); it "
            "may have run out of memory: train with fewer --workers, or with 0"
        ) from error
    if isinstance(batch, Exception):
        raise batch
    return batch


def _leave_signals_to_the_trainer(_worker: int) -> None:
    """Ctrl-C and torchrun signal the whole group; the trainer needs images to finish its step.

    Workers end when the trainer does.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def collate(samples: Sequence[Sample | Exception]) -> tuple[Images, Targets] | Exception:
    """Samples -> (images, targets), not stacked since images differ in size; or their error."""
    for sample in samples:
        if isinstance(sample, Exception):
            return sample
    images, targets = zip(*samples, strict=True)
    return images, targets
