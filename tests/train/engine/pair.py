"""Run as a process of its own, alone or as one of several: trains a little, says what came out.

python pair.py DATA RECIPE.json RESULT.pt
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch
from torchvision.ops import FrozenBatchNorm2d

from pedseg_train.data.transforms import TrainingSamples
from pedseg_train.engine import StopRequest, TrainingContext, TrainingState, fit, joined_processes
from pedseg_train.models import build_model
from pedseg_train.recipes import Recipe
from pedseg_train.run.dataset import RunData
from pedseg_train.run.validation import make_evaluator

CPU = torch.device("cpu")
TRAIN, TEST = (0, 2, 3, 1, 4), (5, 2, 0)


def main(data: Path, recipe: Recipe, result: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    with joined_processes(CPU) as processes:
        # The first process's weights hold for all.
        torch.manual_seed(processes.rank)
        model = build_model(
            recipe.architecture, min_size=recipe.min_size, max_size=recipe.max_size,
            box_batch=recipe.box_batch, proposals=recipe.proposals, score_threshold=0.0,
        )  # fmt: skip
        without_batch_norm(model)
        state = TrainingState.start(model, recipe)
        opened, stop = RunData.open(data), StopRequest()
        fit(
            state,
            TrainingContext(
                samples=TrainingSamples(opened.dataset, TRAIN, recipe),
                recipe=recipe,
                device=CPU,
                name_of=opened.name_of,
                evaluate=make_evaluator(opened, TEST, device=CPU, processes=processes, stop=stop),
                save=lambda _state: None,
                observers=[lambda state: keep(state, result)],
                processes=processes,
                stop=stop,
            ),
        )


def without_batch_norm(module: torch.nn.Module) -> None:
    """Frozen norms instead: with them an image's features do not depend on the others."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features))
        else:
            without_batch_norm(child)


def keep(state: TrainingState, result: Path) -> None:
    torch.save({"history": state.history, "model": state.measured.state_dict()}, result)


if "GIVEN" in globals():
    main(*globals()["GIVEN"])
