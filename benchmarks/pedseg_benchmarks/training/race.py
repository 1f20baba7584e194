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
from pedseg_train.data.transforms import TrainingSamples
from pedseg_train.data.transforms.samples import Samples
from pedseg_train.engine import Processes, TrainingState
from pedseg_train.engine.batches import Step, StepLoader, plan_epoch
from pedseg_train.engine.step import Stepper
from pedseg_train.recipes import Recipe

from ..statistics import LatencySummary, Speedup, speedup_over, summarise
from .reference import ReferenceLoop, ReferenceSamples

COMPARED = 20
LOSS_LIMIT = 1e-3  # relative; both loops round differently


@dataclass(frozen=True, slots=True)
class Race:
    """What came out.

    Attributes:
        images: pictures per step.
        reference, engine: seconds per step, warm-up left out.
        speedup: of the engine over the reference, paired by step.
        loss_difference: greatest relative difference of the losses in the first `COMPARED` steps,
            warm-up included.
        compared: how many steps that were.
        losses: of the reference and the engine at every one of these steps.
    """

    images: int
    reference: LatencySummary
    engine: LatencySummary
    speedup: Speedup
    loss_difference: float
    compared: int
    losses: dict[str, list[float]]

    @property
    def equal(self) -> bool:
        """Whether both have learnt the same."""
        return self.loss_difference <= LOSS_LIMIT

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {**asdict(self), "equal": self.equal, "loss_limit": LOSS_LIMIT}

    def table(self) -> Table:
        """For a terminal; speed beside the proof that it is the same training."""
        table = Table(title=f"{self.reference.count} steps of {self.images} pictures each")
        for name in ("", "step p50", "p90", "images/s", "x reference (95 %)"):
            table.add_column(name, justify="left" if not name else "right")
        rows = (("torchvision's loop", self.reference, "1"), ("pedseg", self.engine, self._gain()))
        for name, summary, gain in rows:
            table.add_row(
                name,
                f"{summary.p50:.0f} ms",
                f"{summary.p90:.0f} ms",
                f"{self.images * 1e3 / summary.p50:.2f}",
                gain,
            )
        verdict = "equal" if self.equal else "DIFFERENT"
        table.caption = (
            f"losses of the first {self.compared} steps: {verdict}, "
            f"{self.loss_difference:.1e} apart at most (limit {LOSS_LIMIT:g})"
        )
        return table

    def _gain(self) -> str:
        gain = self.speedup
        return f"{gain.median:.2f} ({gain.low:.2f} to {gain.high:.2f})"


def race(
    model: MaskRCNN,
    dataset: Samples,
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
        dataset: all pictures, without transforms.
        indices: the pictures to train on; all of their batches must be full ones.
        recipe: what the reference can do, too: SGD, a plain step, flips alone.
        device: where both train.
        steps: timed ones.
        warmup: steps before these.

    Raises:
        InputError: too few pictures, or a recipe that the reference cannot follow.
    """
    _check(recipe)
    plan = plan_epoch(len(indices), recipe, 0)[: steps + warmup]
    if len(plan) < steps + warmup or plan[-1].images != recipe.batch_size:
        raise InputError(
            f"steps: expected at most {len(indices) // recipe.batch_size - warmup} for "
            f"{len(indices)} pictures, found {steps}"
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
    seconds, losses = np.zeros((2, len(plan))), np.zeros((2, len(plan)))
    for number in track(range(len(plan)), "racing", total=len(plan)):
        state.model.load_state_dict(reference.model.state_dict())
        state.optimizer.load_state_dict(_with_our_groups(reference.optimizer, state.optimizer))
        for who in (0, 1) if number % 2 else (1, 0):
            _synchronise(device)
            started = time.perf_counter()
            losses[who, number] = contenders[who]()
            _synchronise(device)
            seconds[who, number] = time.perf_counter() - started
    timed, compared = seconds[:, warmup:], losses[:, :COMPARED]
    return Race(
        images=recipe.batch_size,
        reference=summarise(timed[0]),
        engine=summarise(timed[1]),
        speedup=speedup_over(timed[0][:, None], timed[1][:, None]),
        loss_difference=float((np.abs(compared[0] - compared[1]) / np.abs(compared[0])).max()),
        compared=compared.shape[1],
        losses={"reference": compared[0].tolist(), "engine": compared[1].tolist()},
    )


def _with_our_groups(theirs: torch.optim.Optimizer, ours: torch.optim.Optimizer) -> dict[str, Any]:
    """The reference's momentum under the engine's settings; both have one group, in one order."""
    return {
        "state": theirs.state_dict()["state"],
        "param_groups": ours.state_dict()["param_groups"],
    }


def _engine(
    state: TrainingState,
    dataset: Samples,
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
