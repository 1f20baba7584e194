"""The presets say what they promise, and the learning rate follows torchvision's schedule."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pedseg_runtime.errors import InputError
from pedseg_train.architectures import ARCHITECTURES
from pedseg_train.recipes import RECIPES, Recipe, settings_of


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
        ({"lr": float("nan")}, "lr: expected a number above 0, found nan"),
        ({"lr": 0.0}, "lr: expected a number above 0, found 0.0"),
        ({"clip": float("inf")}, "clip: expected at least 0, found inf"),
        ({"flip": 1.5}, "flip: expected 0 to 1, found 1.5"),
        ({"freeze": ("stem", "head")}, "freeze: expected stem or .* found 'head'"),
        ({"train_sizes": (400, 8)}, "train_sizes: expected at least 32, found 8"),
        ({"scale_min": 1.2, "scale_max": 1.1}, "scale_min: expected at most scale_max"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_impossible_setting_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Recipe(**values)


@pytest.mark.parametrize("change", [{"learning_rate": 1}, {"anchor_sizes": None}])
def test_foreign_document_is_no_recipe(change):
    with pytest.raises(InputError, match="settings of a Recipe"):
        Recipe.from_dict({**RECIPES["tutorial"].to_dict(), **change})


def test_every_field_but_the_preset_is_described_once_and_in_one_line():
    described = settings_of(Recipe)
    assert [item.name for item in described] == [
        field.name for field in dataclasses.fields(Recipe)
    ][1:]
    assert all(item.help.endswith(".") and len(item.help) < 100 for item in described)
    assert all(item.group for item in described)


@given(
    epochs=st.integers(1, 6),
    steps=st.integers(1, 20),
    warmup=st.integers(0, 60),
    final=st.floats(0, 1),
)
def test_cosine_rises_once_and_falls_to_its_end(epochs, steps, warmup, final):
    recipe = Recipe(lr=0.1, schedule="cosine", warmup=warmup, lr_final=final, epochs=epochs)
    rates = [
        recipe.learning_rate(epoch, step, steps) for epoch in range(epochs) for step in range(steps)
    ]
    rising = min(warmup, len(rates) // 2)
    assert rates[: rising + 1] == sorted(rates[: rising + 1])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)
    assert max(rates) == rates[rising] == pytest.approx(0.1)
    assert min(rates[rising:]) >= 0.1 * final * (1 - 1e-9)


def test_cosine_is_that_of_torch():
    recipe = Recipe(lr=0.1, schedule="cosine", warmup=0, epochs=3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    for number in range(12):
        expected = optimizer.param_groups[0]["lr"]
        assert recipe.learning_rate(number // 4, number % 4, 4) == pytest.approx(expected)
        optimizer.step()
        schedule.step()


def test_warm_up_of_the_cosine_spans_epochs():
    recipe = Recipe(lr=1.0, schedule="cosine", warmup=6, epochs=5)
    rates = [recipe.learning_rate(epoch, 0, 4) for epoch in range(3)]
    assert rates[0] < rates[1] < 1.0
    assert rates[1] == pytest.approx(4 / 6, abs=1e-3)


def test_a_resumed_run_may_change_speed_but_not_its_path():
    base = Recipe()
    faster = dataclasses.replace(base, workers=0, channels_last=False, patience=3, epochs=20)
    assert base.resume_conflicts(faster) == []
    assert base.resume_conflicts(dataclasses.replace(base, ema=0.9, freeze=())) == [
        "freeze: ['stem'] -> []", "ema: 0.0 -> 0.9",
    ]  # fmt: skip


def test_the_order_of_categories_is_no_other_recipe():
    one, other = (
        dataclasses.replace(RECIPES["tutorial"], categories=names)
        for names in (("person", "dog"), ("dog", "person", "dog"))
    )
    assert one == other
    assert one.categories == ("dog", "person")


def test_more_epochs_are_another_path_for_a_cosine():
    base = Recipe(schedule="cosine")
    assert base.resume_conflicts(dataclasses.replace(base, epochs=20)) == ["epochs: 10 -> 20"]


def test_a_recipe_of_an_older_version_has_the_defaults_of_what_it_did_not_know():
    values = Recipe(lr=0.1).to_dict()
    del values["ema"], values["freeze"]
    assert Recipe.from_dict(values) == Recipe(lr=0.1)


def test_the_page_on_training_lists_every_setting_as_it_is():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `-"): line for line in page.splitlines() if "| `--" in line}
    described = {item.name.replace("_", "-"): item for item in settings_of(Recipe)}
    assert rows.keys() == described.keys()
    for name, item in described.items():
        assert rows[name].endswith(f"| {item.help} |")
        if isinstance(item.default, str | int | float) and not isinstance(item.default, bool):
            assert f"| {item.default} |" in rows[name]
