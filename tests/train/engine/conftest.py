"""A tiny network and everything that a loop needs around it."""

from __future__ import annotations

import dataclasses
import multiprocessing

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from pedseg_train.data import PennFudanDataset
from pedseg_train.data.transforms import TrainingSamples
from pedseg_train.engine import TrainingContext, TrainingState, fit
from pedseg_train.evaluation import NUMBERS, CocoResult
from pedseg_train.models import build_for

CPU = torch.device("cpu")
UNMEASURED = CocoResult(
    bbox=dict.fromkeys(NUMBERS), segm=dict.fromkeys(NUMBERS), images=0, instances=0, detections=0
)


@dataclasses.dataclass(frozen=True)
class Toy:
    """Training runs on the toy images, without evaluation."""

    dataset: PennFudanDataset

    def model(self, recipe, seed=0):
        torch.manual_seed(seed)
        return build_for(dataclasses.replace(recipe, weights="none"))

    def start(self, recipe, seed=0, batch_norm=True):
        model = self.model(recipe, seed)
        if not batch_norm:
            without_batch_norm(model)
        return TrainingState.start(model, recipe)

    def around(self, recipe, indices=range(4), **changes):
        settings = {
            "samples": TrainingSamples(self.dataset, indices, recipe),
            "recipe": recipe,
            "device": CPU,
            "name_of": lambda image_id: f"image {image_id}",
            "evaluate": lambda _model: UNMEASURED,
            "save": lambda _state: None,
            "observers": (),
        }
        return TrainingContext(**(settings | changes))

    def train(self, recipe, indices=range(4), **changes):
        state = self.start(recipe)
        fit(state, self.around(recipe, indices, **changes))
        return state


def without_batch_norm(module):
    """Frozen norms instead: with them an image's features do not depend on the others."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features))
        else:
            without_batch_norm(child)


@pytest.fixture(scope="session")
def children():
    """A multiprocessing context whose children need not import torch anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pedseg_train.run.train"])
    return context


@pytest.fixture(scope="session")
def toys(toy_root):
    return Toy(PennFudanDataset(toy_root))
