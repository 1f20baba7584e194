"""The training loop: epochs with evaluation, saving, stopping and going on."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import Dataset
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.console import notes

from ..evaluation import CocoResult
from ..recipes import Recipe
from .batches import Sample, StepLoader, plan_epoch
from .processes import Processes, StoppedError, StopRequest
from .state import EpochProgress, TrainingState, is_exhausted
from .step import NameOf, Stepper


@contextlib.contextmanager
def step_bar(
    description: str, *, total: int, done: int, shown: bool
) -> Iterator[Callable[[int], None]]:
    """A bar over the steps of an epoch, with images per second and time left.

    Args:
        description: in front of the bar.
        total: steps of the epoch.
        done: steps that were finished before.
        shown: False for processes that do not speak.

    Yields:
        A function to call after each step with the number of its images.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=notes,
        transient=True,
        disable=not (shown and notes.is_terminal),
    )
    task = bar.add_task(description, total=total, completed=done, rate="")
    started, images = time.perf_counter(), 0

    def advance(step_images: int) -> None:
        nonlocal images
        images += step_images
        rate = images / (time.perf_counter() - started)
        bar.update(task, advance=1, rate=f"{rate:.1f} img/s")

    with bar:
        yield advance


Observer = Callable[[TrainingState], object]


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """What a loop works with besides its state.

    Attributes:
        samples: training images, indexed by `Draw`; their number is the epoch's.
        recipe: the settings.
        device: where the model lies.
        name_of: target's image_id -> the image's name, for errors.
        evaluate: accuracy of a network on the images that choose the best epoch; in every
            process the same. Raises `StoppedError` to be interrupted.
        save: keeps a state in the middle of an epoch.
        observers: are called in turn when an epoch's record has been added to the history, in the
            first process only.
        save_every: steps between two states; 0 keeps one after every epoch only.
        processes: that train together.
        stop: is asked after every step.
    """

    samples: Dataset[Sample]
    recipe: Recipe
    device: torch.device
    name_of: NameOf
    evaluate: Callable[[MaskRCNN], CocoResult]
    save: Observer
    observers: Sequence[Observer]
    save_every: int = 0
    processes: Processes = field(default_factory=Processes)
    stop: StopRequest = field(default_factory=StopRequest)


def fit(state: TrainingState, context: TrainingContext) -> None:
    """Train until the recipe's epochs are in the history, or its patience has run out.

    Args:
        state: new or resumed; it tells where to go on, within an epoch too.
        context: data, recipe, device, and what to call after each epoch.

    Raises:
        StoppedError: a stop was requested; the state has been saved.
        TrainingError: an image that cannot be trained on, or a loss that is not finite.
    """
    stepper = Stepper(
        context.processes.wrap(state.model, context.device),
        context.recipe,
        context.device,
        context.processes,
        context.name_of,
    )
    with (
        sums_in_one_order(context.device),
        contextlib.closing(StepLoader(context.samples, context.recipe, context.device)) as loader,
    ):
        _fit(state, loader, stepper, context)


@contextlib.contextmanager
def sums_in_one_order(device: torch.device) -> Iterator[None]:
    """Make training on the CPU repeatable, bit by bit, also on a busy machine.

    The gradient of picking rows by index is summed by all threads at once, in the order in which
    they happen to come, unless torch is told not to. CUDA is left alone: it has no such promise,
    and would lose speed.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # a module that makes its attribute when it is read
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill


def _fit(
    state: TrainingState, loader: StepLoader, stepper: Stepper, context: TrainingContext
) -> None:
    recipe = context.recipe
    while state.epoch < recipe.epochs and not is_exhausted(state.history, recipe.patience):
        train_epoch(state, loader, stepper, context)
        started = time.perf_counter()
        try:
            result = context.evaluate(state.measured)
        except StoppedError:
            context.save(state)
            raise
        _finish_epoch(state, result, time.perf_counter() - started)
        if context.processes.first:
            for observer in context.observers:
                observer(state)
        if any(context.processes.gathered(bool(context.stop))) and state.epoch < recipe.epochs:
            raise StoppedError(f"stopped after epoch {state.epoch}")


def train_epoch(
    state: TrainingState, loader: StepLoader, stepper: Stepper, context: TrainingContext
) -> None:
    """Train on what is left of the epoch in hand; the state's progress follows every step."""
    recipe, processes, progress = context.recipe, context.processes, state.progress
    plan = plan_epoch(
        len(context.samples),  # type: ignore[arg-type]
        recipe,
        state.epoch,
        rank=processes.rank,
        world=processes.world,
    )
    left = plan[progress.steps :]
    if not left:
        return
    state.model.train()
    title = f"epoch {state.epoch + 1}/{recipe.epochs}"
    with step_bar(title, total=len(plan), done=progress.steps, shown=processes.first) as advance:
        for step, fetched in loader.steps(left):
            started = time.perf_counter()
            losses, stop = stepper(state, step, fetched, steps=len(plan), stop=bool(context.stop))
            _count(progress, step.images, losses, time.perf_counter() - started)
            advance(step.images)
            if stop:
                context.save(state)
                raise StoppedError(
                    f"stopped in epoch {state.epoch + 1} after step {progress.steps}"
                )
            if context.save_every and progress.steps % context.save_every == 0:
                context.save(state)


def _count(progress: EpochProgress, images: int, losses: dict[str, float], seconds: float) -> None:
    progress.steps += 1
    progress.images += images
    progress.seconds += seconds
    for name, value in losses.items():
        progress.losses[name] = progress.losses.get(name, 0.0) + value


def _finish_epoch(state: TrainingState, result: CocoResult, seconds: float) -> None:
    """Add the epoch's record to the history."""
    progress = state.progress
    state.history.append(
        {
            "epoch": state.epoch + 1,
            "steps": progress.steps,
            "lr": max(group["lr"] / group["factor"] for group in state.optimizer.param_groups),
            "losses": {name: value / progress.steps for name, value in progress.losses.items()},
            "seconds": round(progress.seconds, 3),
            "evaluation_seconds": round(seconds, 3),
            "images_per_second": round(progress.images / max(progress.seconds, 1e-9), 3),
            "memory_mb": _peak_memory(next(state.model.parameters()).device),
            "bbox": result.bbox,
            "segm": result.segm,
        }
    )
    state.progress = EpochProgress()


def _peak_memory(device: torch.device) -> int:
    """The most that this process has held so far, in MiB: of the GPU, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20
