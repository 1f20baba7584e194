"""pedseg's engine and the reference loop, step by step in one process."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.console import track
from pedseg_runtime.errors import InputError
from pedseg_train.data import SegmentationDataset
from pedseg_train.data.transforms import TrainingSamples
from pedseg_train.engine import Processes, TrainingState
from pedseg_train.engine.batches import Step, StepLoader, plan_epoch
from pedseg_train.engine.step import Stepper
from pedseg_train.recipes import Recipe

from ..statistics import LatencySummary, Speedup, speedup_over, summarise
from .reference import Agreement, DrawnBoxes, ReferenceLoop, ReferenceSamples

COMPARED = 20


@dataclass(frozen=True, slots=True)
class Race:
    """The result of a race.

    Attributes:
        images: per step.
        reference, engine: time per step, warm-up left out.
        speedup: of the engine over the reference, paired by step.
        cpu_speedup: the same of processor time over all threads, which other programs on the
            machine disturb less; None on CUDA, where the processor waits.
        agreement: the losses of the first `COMPARED` steps, warm-up included.
    """

    images: int
    reference: LatencySummary
    engine: LatencySummary
    speedup: Speedup
    cpu_speedup: Speedup | None
    agreement: Agreement

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {
            "images": self.images,
            "reference": asdict(self.reference),
            "engine": asdict(self.engine),
            "speedup": asdict(self.speedup),
            "cpu_speedup": asdict(self.cpu_speedup) if self.cpu_speedup else None,
            "losses": self.agreement.to_dict(),
        }

    def table(self) -> Table:
        """For a terminal; speed beside the proof that it is the same training."""
        table = Table(title=f"{self.reference.count} steps of {self.images} images each")
        for name in ("", "step p50", "p90", "images/s", "x reference (95 %)", "x in CPU time"):
            table.add_column(name, justify="left" if not name else "right")
        gains = (_shown(self.speedup), _shown(self.cpu_speedup))
        rows = (("torchvision's loop", self.reference, ("1", "1")), ("pedseg", self.engine, gains))
        for name, summary, gain in rows:
            table.add_row(
                name,
                f"{summary.p50:.0f} ms",
                f"{summary.p90:.0f} ms",
                f"{self.images * 1e3 / summary.p50:.2f}",
                *gain,
            )
        table.caption = str(self.agreement)
        return table


def _shown(gain: Speedup | None) -> str:
    return f"{gain.median:.2f} ({gain.low:.2f} to {gain.high:.2f})" if gain else "-"


def race(
    model: MaskRCNN,
    dataset: SegmentationDataset,
    indices: Sequence[int],
    *,
    recipe: Recipe,
    device: torch.device,
    steps: int,
    warmup: int = 2,
) -> Race:
    """Train copies of one model on the same steps, in turns.

    Every step of the engine begins with the reference's weights and momentum (the copying is not
    timed). Left alone, two trainings that round differently drift apart: a proposal changes places
    with its neighbour in the order of scores, and the sampler draws another box.

    Args:
        model: on the CPU, as the tutorial builds it; stays as it is.
        dataset: all images, without transforms.
        indices: the images to train on; all of their batches must be full ones.
        recipe: what the reference can do, too: SGD, a plain step, flips alone.
        device: where both train.
        steps: timed ones.
        warmup: steps before these.

    Raises:
        InputError: too few images, or a recipe that the reference cannot follow.
    """
    _check(recipe)
    plan = plan_epoch(len(indices), recipe, 0)[: steps + warmup]
    if len(plan) < steps + warmup or plan[-1].images != recipe.batch_size:
        raise InputError(
            f"steps: expected at most {len(indices) // recipe.batch_size - warmup} for "
            f"{len(indices)} images, found {steps}"
        )
    reference = ReferenceLoop(
        copy.deepcopy(model).to(device),
        ReferenceSamples(dataset, indices, recipe.flip),
        plan,
        recipe,
        device,
    )
    state = TrainingState.start(copy.deepcopy(model).to(device), recipe)
    contenders = (reference.step, _engine(state, dataset, indices, plan, recipe, device))
    drawn = (DrawnBoxes(reference.model), DrawnBoxes(state.model))
    wall, processor, losses = (np.zeros((2, len(plan))) for _ in range(3))
    same = []
    for number in track(range(len(plan)), "racing", total=len(plan)):
        state.model.load_state_dict(reference.model.state_dict())
        state.optimizer.load_state_dict(_with_our_groups(reference.optimizer, state.optimizer))
        for index in (0, 1) if number % 2 else (1, 0):
            losses[index, number], wall[index, number], processor[index, number] = _timed(
                contenders[index], device
            )
        same.append(drawn[0].same_as(drawn[1]))
    timed, used = wall[:, warmup:, None], processor[:, warmup:, None]
    return Race(
        images=recipe.batch_size,
        reference=summarise(timed[0]),
        engine=summarise(timed[1]),
        speedup=speedup_over(*timed),
        cpu_speedup=speedup_over(*used) if device.type == "cpu" else None,
        agreement=Agreement(
            tuple(losses[0, :COMPARED].tolist()),
            tuple(losses[1, :COMPARED].tolist()),
            tuple(same[:COMPARED]),
        ),
    )


def _timed(step: Callable[[], float], device: torch.device) -> tuple[float, float, float]:
    """The loss of a step, the seconds that it took and the processor's seconds."""
    _synchronise(device)
    began, used = time.perf_counter(), time.process_time()
    loss = step()
    _synchronise(device)
    return loss, time.perf_counter() - began, time.process_time() - used


def _with_our_groups(theirs: torch.optim.Optimizer, ours: torch.optim.Optimizer) -> dict[str, Any]:
    """The reference's momentum under the engine's settings; both have one group, in one order."""
    return {
        "state": theirs.state_dict()["state"],
        "param_groups": ours.state_dict()["param_groups"],
    }


def _engine(
    state: TrainingState,
    dataset: SegmentationDataset,
    indices: Sequence[int],
    plan: Sequence[Step],
    recipe: Recipe,
    device: torch.device,
) -> Callable[[], float]:
    """A function that fetches and trains one step, as `pedseg-train` does."""
    state.model.train()
    stepper = Stepper(state.model, recipe, device, Processes(), str)
    fetched = StepLoader(TrainingSamples(dataset, indices, recipe), recipe, device).steps(plan)

    def step() -> float:
        planned, batches = next(fetched)
        losses, _ = stepper(state, planned, batches, steps=len(plan), stop=False)
        state.progress.steps += 1
        return losses["loss"]

    return step


def _check(recipe: Recipe) -> None:
    plain = Recipe()
    for name in (
        "accumulate", "optimizer", "norm_decay", "backbone_lr", "layer_decay", "clip", "ema",
        "train_sizes", "scale_min", "scale_max", "crop", "copy_paste", "brightness", "contrast",
        "saturation", "hue", "grey",
    ):  # fmt: skip
        if getattr(recipe, name) != getattr(plain, name):
            raise InputError(
                f"{name}: expected {getattr(plain, name)!r}, as in the reference loop, found "
                f"{getattr(recipe, name)!r}; leave it out"
            )


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
