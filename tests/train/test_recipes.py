"""The presets say what they promise, and the learning rate follows torchvision's schedule."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pedseg_runtime.errors import InputError
from pedseg_train.architectures import ARCHITECTURES
from pedseg_train.recipes import RECIPES, Recipe


def test_tutorial_preset_is_the_tutorials_recipe():
    recipe = RECIPES["tutorial"]
    assert (recipe.architecture, recipe.weights) == ("maskrcnn_resnet50_fpn", "coco")
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == (
        "sgd", 0.005, 0.9, 0.0005,
    )  # fmt: skip
    assert (recipe.lr_step, recipe.lr_gamma, recipe.epochs) == (3, 0.1, 10)
    assert (recipe.batch_size, recipe.workers, recipe.flip, recipe.seed) == (2, 4, 0.5, 1)
    assert (recipe.min_size, recipe.max_size, recipe.box_batch) == (800, 1333, 512)


@pytest.mark.parametrize("name", [*RECIPES])
def test_presets_carry_their_name_and_survive_json(name):
    recipe = RECIPES[name]
    assert recipe.preset == name
    assert recipe.architecture in ARCHITECTURES
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@given(steps=st.integers(2, 40), warmup=st.integers(1, 60), lr_step=st.integers(1, 4))
def test_learning_rate_is_that_of_torchvisions_reference_loop(steps, warmup, lr_step):
    """LinearLR within the first epoch, StepLR after every epoch, as in its engine.py."""
    recipe = Recipe(lr=0.02, lr_step=lr_step, warmup=warmup, epochs=5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    by_epoch = torch.optim.lr_scheduler.StepLR(optimizer, lr_step, recipe.lr_gamma)
    for epoch in range(recipe.epochs):
        by_step = None
        if epoch == 0:
            by_step = torch.optim.lr_scheduler.LinearLR(
                optimizer, start_factor=1 / 1000, total_iters=min(warmup, steps - 1)
            )
        for step in range(steps):
            expected = optimizer.param_groups[0]["lr"]
            assert recipe.learning_rate(epoch, step, steps) == pytest.approx(expected)
            optimizer.step()
            if by_step:
                by_step.step()
        by_epoch.step()


def test_single_step_epoch_trains_at_the_full_rate():
    """torchvision's warm-up of zero steps would leave the rate at a thousandth for ever."""
    assert Recipe(lr=0.02).learning_rate(0, 0, 1) == 0.02


def test_differences_name_both_values():
    base = RECIPES["tutorial"]
    other = dataclasses.replace(base, lr=0.1, epochs=3)
    assert base.differences(other) == ["epochs: 10 -> 3", "lr: 0.005 -> 0.1"]
    assert base.differences(other, ignoring=("epochs",)) == ["lr: 0.005 -> 0.1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "adam"}, "sgd or adamw"),
        ({"epochs": 0}, "epochs: expected at least 1"),
        ({"lr": float("nan")}, "lr: expected"),
    ],
    ids=["optimizer", "epochs", "lr"],
)
def test_impossible_setting_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Recipe(**values)


@pytest.mark.parametrize("change", [{"learning_rate": 1}, {"anchor_sizes": None}])
def test_foreign_document_is_no_recipe(change):
    with pytest.raises(InputError, match="settings of a Recipe"):
        Recipe.from_dict({**RECIPES["tutorial"].to_dict(), **change})
