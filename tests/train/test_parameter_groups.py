"""Which parameters are trained, how fast, and with how much decay."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pedseg_train.architectures import ARCHITECTURES, FROZEN, assemble, freeze_stem
from pedseg_train.engine.state import (
    averaged_model,
    make_optimizer,
    parameter_groups,
    set_learning_rate,
)
from pedseg_train.parameter_groups import PARAMETER_GROUPS, freeze, parameter_group
from pedseg_train.recipes import RECIPES

pytestmark = pytest.mark.slow

DEFAULTS = RECIPES["tutorial"]


@pytest.fixture(scope="module", params=["maskrcnn_resnet18_fpn", "maskrcnn_mobilenet_v2_fpn"])
def model(request):
    built = assemble(ARCHITECTURES[request.param], num_classes=2, norm=FROZEN)
    built.architecture = ARCHITECTURES[request.param]
    return built


def frozen(model):
    return {name for name, p in model.named_parameters() if not p.requires_grad}


def test_every_parameter_has_a_part(model):
    found = {
        parameter_group(name, model, model.architecture) for name, _ in model.named_parameters()
    }
    assert found == set(PARAMETER_GROUPS) - {"stage1"}  # which the stem of these networks fills


def test_freezing_the_stem_is_what_torchvision_does(model):
    freeze(model, model.architecture, ["stem"])
    ours = frozen(model)
    model.requires_grad_(True)
    freeze_stem(model, model.architecture)
    assert ours == frozen(model)
    assert ours


def test_freezing_names_exactly_the_parts(model):
    freeze(model, model.architecture, ["stage2", "mask"])
    names = frozen(model)
    assert {parameter_group(name, model, model.architecture) for name in names} == {
        "stage2",
        "mask",
    }
    freeze(model, model.architecture, [])
    assert not frozen(model)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizer_leaves_frozen_parameters_out(name, kind, model):
    recipe = dataclasses.replace(
        DEFAULTS, architecture=model.architecture.name, optimizer=name, momentum=0.8
    )
    freeze(model, model.architecture, ["stem", "rpn"])
    optimizer = make_optimizer(model, recipe)
    assert isinstance(optimizer, kind)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}
    freeze(model, model.architecture, [])


def test_plain_recipe_has_one_group(model):
    recipe = dataclasses.replace(DEFAULTS, architecture=model.architecture.name)
    (group,) = parameter_groups(model, recipe)
    assert (group["factor"], group["weight_decay"]) == (1.0, recipe.weight_decay)


def test_each_stage_has_its_rate_and_norms_do_not_decay(model):
    recipe = dataclasses.replace(
        DEFAULTS, architecture=model.architecture.name, backbone_lr=0.5, layer_decay=0.1,
        norm_decay=False,
    )  # fmt: skip
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    expected = {"stem": 5e-4, "stage2": 5e-3, "stage3": 5e-2, "stage4": 0.5}
    for group in parameter_groups(model, recipe):
        for parameter in group["params"]:
            part = parameter_group(names[id(parameter)], model, model.architecture)
            assert group["factor"] == pytest.approx(expected.get(part, 1.0))
            assert group["weight_decay"] == (recipe.weight_decay if parameter.ndim > 1 else 0.0)


def test_the_rate_of_a_step_is_scaled_in_each_group(model):
    recipe = dataclasses.replace(DEFAULTS, architecture=model.architecture.name, backbone_lr=0.5)
    optimizer = make_optimizer(model, recipe)
    set_learning_rate(optimizer, 0.02)
    assert {group["lr"] for group in optimizer.param_groups} == {0.01, 0.02}


def test_average_forgets_the_start_and_then_follows_slowly():
    one = torch.nn.BatchNorm1d(1)
    average = averaged_model(one, 0.9)
    assert average.module is not one
    values = []
    with torch.no_grad():
        one.weight.fill_(2.0)
        for _ in range(200):
            average.update_parameters(one)
            values.append(average.module.weight.item())
    assert values[0] == pytest.approx(1.9)  # a first step keeps a tenth of the start
    assert values[-1] == pytest.approx(2.0)
    with torch.no_grad():
        one.weight.fill_(3.0)
    average.update_parameters(one)
    assert average.module.weight.item() == pytest.approx(2.1, abs=1e-4)


def test_average_follows_statistics_and_copies_counters():
    norm = torch.nn.BatchNorm1d(1)
    average = averaged_model(norm, 0.9)
    norm(torch.tensor([[4.0], [6.0]]))
    average.update_parameters(norm)
    assert average.module.running_mean.item() == pytest.approx(0.45)
    assert average.module.num_batches_tracked.item() == 1
