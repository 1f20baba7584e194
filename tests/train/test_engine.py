"""The loop trains, stops on what cannot be trained on, and resumes exactly."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from pedseg_runtime.errors import TrainingError
from pedseg_train.checkpoint import load_resume_state, save_resume_state
from pedseg_train.data import PennFudanDataset, training_transform
from pedseg_train.engine import (
    TrainingState,
    collate,
    fit,
    make_loader,
    make_optimizer,
    seeded_generator,
    train_one_epoch,
)
from pedseg_train.evaluation import NUMBERS, CocoResult
from pedseg_train.models import build_model

CPU = torch.device("cpu")


def tiny(recipe, seed=0):
    torch.manual_seed(seed)
    return build_model(
        recipe.architecture,
        min_size=recipe.min_size,
        max_size=recipe.max_size,
        box_batch=recipe.box_batch,
        proposals=recipe.proposals,
    )


@pytest.fixture(scope="session")
def samples(toy_root):
    return PennFudanDataset(toy_root, transform=training_transform(), indices=range(4))


def unmeasured(_model):
    numbers = dict.fromkeys(NUMBERS, None)
    return CocoResult(bbox=numbers, segm=numbers, images=0, instances=0, detections=0)


def run(state, samples, recipe, after_epoch=lambda _state: None):
    fit(
        state,
        dataset=samples,
        recipe=recipe,
        device=CPU,
        name_of=str,
        evaluate=unmeasured,
        after_epoch=after_epoch,
    )


def one_epoch(model, samples, recipe):
    loader = make_loader(samples, recipe, seeded_generator(0))
    return train_one_epoch(
        model,
        loader,
        make_optimizer(model, recipe),
        recipe=recipe,
        epoch=0,
        device=CPU,
        name_of=lambda image_id: f"picture {image_id}",
    )


def test_an_epoch_gives_finite_losses_and_changes_every_part(samples, tiny_recipe):
    model = tiny(tiny_recipe)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    losses = one_epoch(model, samples, tiny_recipe)
    assert set(losses) == {
        "loss", "loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness",
        "loss_rpn_box_reg",
    }  # fmt: skip
    assert all(math.isfinite(value) for value in losses.values())
    assert losses["loss"] == pytest.approx(sum(losses.values()) - losses["loss"], rel=1e-5)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    for part in ("backbone.body", "backbone.fpn", "rpn", "roi_heads.box", "roi_heads.mask"):
        assert any(name.startswith(part) for name in changed)


def test_interrupted_and_resumed_equals_uninterrupted(samples, tiny_recipe, tmp_path):
    recipe = dataclasses.replace(tiny_recipe, epochs=2)
    straight = TrainingState.start(tiny(recipe), recipe)
    run(straight, samples, recipe, lambda state: _save_first(state, tmp_path / "resume.pt"))

    torch.manual_seed(99)  # whatever happened in between must not matter
    resumed = TrainingState.start(tiny(recipe, seed=7), recipe)
    resumed.load_state_dict(load_resume_state(tmp_path / "resume.pt"))
    assert len(resumed.history) == 1
    run(resumed, samples, recipe)

    assert [r["losses"] for r in resumed.history] == [r["losses"] for r in straight.history]
    assert all(
        torch.equal(tensor, resumed.model.state_dict()[name])
        for name, tensor in straight.model.state_dict().items()
    )


def _save_first(state, path):
    if len(state.history) == 1:
        save_resume_state(path, state.state_dict())


def test_resume_state_of_another_network_is_refused(tiny_recipe):
    state = TrainingState.start(tiny(tiny_recipe), tiny_recipe)
    saved = state.state_dict()
    del saved["model"]["backbone.body.conv1.weight"]
    with pytest.raises(TrainingError, match="does not fit this run"):
        state.load_state_dict(saved)


def test_same_seed_gives_the_same_flips_in_workers(samples, tiny_recipe):
    recipe = dataclasses.replace(tiny_recipe, workers=1)
    first, second, other = (
        [images[0] for images, _ in make_loader(samples, recipe, seeded_generator(seed))]
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_loss_that_is_not_finite_names_the_pictures(samples, tiny_recipe):
    model = tiny(tiny_recipe)
    with torch.no_grad():
        model.roi_heads.mask_predictor.mask_fcn_logits.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"epoch 1, step 1: .*loss_mask nan, .* on picture \d"):
        one_epoch(model, samples, tiny_recipe)


def test_flat_box_names_its_picture(samples, tiny_recipe):
    image, target = samples[2]
    flat = {**target, "boxes": torch.tensor([[5.0, 5.0, 5.0, 9.0]] * len(target["boxes"]))}
    with pytest.raises(TrainingError, match=r"picture 2: expected boxes with width and height"):
        one_epoch(tiny(tiny_recipe), [(image, flat)] * 2, tiny_recipe)


def test_picture_without_people_is_trained_on(samples, tiny_recipe):
    losses = one_epoch(tiny(tiny_recipe), [samples[1]] * 2, tiny_recipe)
    assert losses["loss_mask"] == 0.0
    assert losses["loss_classifier"] > 0


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizer_leaves_frozen_parameters_out(name, kind, tiny_recipe, tiny_model):
    tiny_model.backbone.body.layer1.requires_grad_(False)
    optimizer = make_optimizer(tiny_model, dataclasses.replace(tiny_recipe, optimizer=name))
    assert isinstance(optimizer, kind)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in tiny_model.parameters() if p.requires_grad}


def test_collate_keeps_pictures_of_any_size():
    images, targets = collate([(torch.zeros(3, 4, 5), {"a": 1}), (torch.zeros(3, 6, 7), {"a": 2})])
    assert [tuple(image.shape) for image in images] == [(3, 4, 5), (3, 6, 7)]
    assert [target["a"] for target in targets] == [1, 2]
