"""The loop trains, stops on what cannot be trained on, and goes on exactly."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing

import pytest
import torch

from pedseg_runtime.errors import TrainingError
from pedseg_train.engine import StoppedError, StopRequest, TrainingState, fit
from pedseg_train.evaluation import NUMBERS, CocoResult
from pedseg_train.tensor_files import load_resume_state, save_resume_state

pytestmark = pytest.mark.slow


def equal(one: TrainingState, other: TrainingState) -> bool:
    """Bit for bit, in everything that is saved but the seconds."""
    mine, theirs = one.state_dict(), other.state_dict()
    return _same(mine["model"], theirs["model"]) and all(
        _same(mine[part], theirs[part]) for part in ("optimizer", "average")
    )


def _same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def losses(state):
    return [record["losses"] for record in state.history]


@pytest.fixture
def recipe(tiny_recipe):
    """With everything that has a state or draws something."""
    return dataclasses.replace(
        tiny_recipe, ema=0.9, clip=5.0, schedule="cosine", warmup=3, copy_paste=0.5, scale_max=1.3,
        train_sizes=(40, 48), hue=0.1,
    )  # fmt: skip


def test_an_epoch_gives_finite_losses_and_changes_every_part(toys, tiny_recipe):
    state = toys.start(tiny_recipe)
    before = {name: parameter.clone() for name, parameter in state.model.named_parameters()}
    fit(state, toys.around(tiny_recipe))
    found = losses(state)[0]
    assert set(found) == {
        "loss", "loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness",
        "loss_rpn_box_reg",
    }  # fmt: skip
    assert all(math.isfinite(value) for value in found.values())
    assert found["loss"] == pytest.approx(sum(found.values()) - found["loss"], rel=1e-5)
    changed = {n for n, p in state.model.named_parameters() if not torch.equal(p, before[n])}
    for part in ("backbone.body", "backbone.fpn", "rpn", "roi_heads.box", "roi_heads.mask"):
        assert any(name.startswith(part) for name in changed)


def test_records_tell_speed_and_memory(toys, tiny_recipe):
    record = toys.train(tiny_recipe).history[-1]
    assert record["steps"] == 2
    assert record["images_per_second"] == pytest.approx(4 / record["seconds"], rel=0.05)
    assert record["memory_mb"] > 0
    assert record["lr"] == pytest.approx(tiny_recipe.learning_rate(1, 1, 2))


@pytest.mark.parametrize("after", [1, 2, 3], ids="after {} steps".format)
def test_interrupted_and_resumed_equals_uninterrupted(toys, recipe, tmp_path, after):
    """In the middle of an epoch (1 and 3) and between two (2), through a file, bit for bit."""
    straight = toys.train(recipe)
    path = tmp_path / "resume.pt"
    kept = []

    def keep(state):
        if state.epoch * 2 + state.progress.steps == after:
            save_resume_state(path, state.state_dict())
            kept.append(state.epoch)

    toys.train(recipe, save=keep, save_every=1, observers=[keep])
    assert kept
    torch.manual_seed(99)  # whatever happened in between must not matter
    resumed = toys.start(recipe, seed=7)
    resumed.load_state_dict(load_resume_state(path))
    fit(resumed, toys.around(recipe))
    assert losses(resumed) == losses(straight)
    assert equal(resumed, straight)


def test_the_number_of_workers_does_not_change_the_result(toys, recipe):
    alone = toys.train(recipe)
    helped = toys.train(dataclasses.replace(recipe, workers=2))
    assert losses(helped) == losses(alone)
    assert equal(helped, alone)


def test_no_worker_is_left_when_an_observer_fails(toys, tiny_recipe):
    def fail(_state):
        raise OSError("no space left")

    before = set(multiprocessing.active_children())
    with pytest.raises(OSError, match="no space left") as kept:  # as is its traceback
        toys.train(dataclasses.replace(tiny_recipe, workers=2), observers=(fail,))
    assert set(multiprocessing.active_children()) <= before
    assert kept.tb is not None


def test_another_seed_is_another_run(toys, recipe):
    other = dataclasses.replace(recipe, seed=recipe.seed + 1)
    assert losses(toys.train(other)) != losses(toys.train(recipe))


def test_accumulated_batches_equal_the_larger_batch(toys, tiny_recipe):
    """Images of equal size, as many boxes in each (two people, two positives), no batch norm."""
    large = dataclasses.replace(
        tiny_recipe, optimizer="sgd", lr=0.01, box_batch=8, batch_size=4, accumulate=1
    )
    small = dataclasses.replace(large, batch_size=2, accumulate=2)
    images = (0, 2, 3, 4, 5)  # the last step has a single image
    one, two = (toys.start(recipe, batch_norm=False) for recipe in (large, small))
    fit(one, toys.around(large, images))
    fit(two, toys.around(small, images))
    assert one.history[0]["steps"] == two.history[0]["steps"] == 2
    for first, second in zip(losses(one), losses(two), strict=True):
        assert first == pytest.approx(second, rel=1e-4)
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(tensor, two.model.state_dict()[name], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 3), (2, 4)])
def test_patience_ends_a_run_that_gets_no_better(toys, tiny_recipe, patience, epochs):
    recipe = dataclasses.replace(tiny_recipe, epochs=6, patience=patience)
    aps = iter([0.1, 0.4, 0.3, 0.4, 0.2, 0.1])
    state = toys.train(recipe, (0, 2), evaluate=lambda _model: _measured(next(aps)))
    assert state.epoch == epochs


def test_the_averaged_weights_are_measured(toys, tiny_recipe):
    seen = []
    state = toys.train(
        dataclasses.replace(tiny_recipe, ema=0.5),
        evaluate=lambda model: (seen.append(model), _measured(None))[1],
    )
    assert all(model is state.average.module for model in seen)
    assert state.measured is not state.model
    trained, averaged = state.model.state_dict(), state.measured.state_dict()
    assert trained.keys() == averaged.keys()
    assert not torch.equal(
        trained["rpn.head.cls_logits.weight"], averaged["rpn.head.cls_logits.weight"]
    )


@pytest.mark.parametrize("during", ["step", "evaluation"])
def test_a_request_to_stop_saves_first(toys, tiny_recipe, during):
    stop, saved = StopRequest(), []

    def evaluate(_model):
        if during == "evaluation":
            raise StoppedError("stopped while measuring")
        return _measured(None)

    if during == "step":
        stop.by = "SIGTERM"
    with pytest.raises(StoppedError):
        toys.train(
            tiny_recipe,
            stop=stop,
            evaluate=evaluate,
            save=lambda state: saved.append((state.epoch, state.progress.steps)),
        )
    assert saved == [(0, 1 if during == "step" else 2)]


def test_bfloat16_trains_and_measures_in_float32(toys, tiny_recipe):
    found = {}

    def look(model):
        found.update({name: tensor.dtype for name, tensor in model.named_parameters()})
        return _measured(None)

    recipe = dataclasses.replace(tiny_recipe, amp="bf16", epochs=1)
    state = toys.train(recipe, evaluate=look)
    exact = toys.train(dataclasses.replace(recipe, amp="none"))
    assert set(found.values()) == {torch.float32}
    assert losses(state)[0] != losses(exact)[0]
    assert losses(state)[0]["loss"] == pytest.approx(losses(exact)[0]["loss"], rel=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_mixed_precision_trains_on_cuda(toys, tiny_recipe, amp):
    recipe = dataclasses.replace(tiny_recipe, amp=amp)
    device = torch.device("cuda")
    state = TrainingState.start(toys.model(recipe).to(device), recipe)
    fit(state, toys.around(recipe, device=device))
    assert all(math.isfinite(value) for value in losses(state)[-1].values())
    assert state.scaler.is_enabled() == (amp == "fp16")


def test_resume_state_of_another_network_is_refused(toys, tiny_recipe):
    state = toys.start(tiny_recipe)
    saved = state.state_dict()
    del saved["model"]["backbone.body.conv1.weight"]
    with pytest.raises(TrainingError, match="does not fit this run"):
        state.load_state_dict(saved)


def test_loss_that_is_not_finite_names_the_images(toys, tiny_recipe):
    state = toys.start(tiny_recipe)
    with torch.no_grad():
        state.model.roi_heads.mask_predictor.mask_fcn_logits.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"epoch 1, step 1: .*loss_mask nan, .* on image \d"):
        fit(state, toys.around(tiny_recipe))


class _Flat(torch.utils.data.Dataset):
    """Samples whose boxes have no width."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, draw):
        image, target = self.samples[draw]
        boxes = torch.tensor([[5.0, 5.0, 5.0, 9.0]] * len(target["boxes"])).reshape(-1, 4)
        return image, {**target, "boxes": boxes}


def test_flat_box_names_its_image(toys, tiny_recipe):
    around = toys.around(tiny_recipe, (2,))
    around = dataclasses.replace(around, samples=_Flat(around.samples))
    with pytest.raises(TrainingError, match="image 2: expected boxes with width and height"):
        fit(toys.start(tiny_recipe), around)


def test_image_without_people_is_trained_on(toys, tiny_recipe):
    found = losses(toys.train(tiny_recipe, (1,)))[0]
    assert found["loss_mask"] == 0.0
    assert found["loss_classifier"] > 0


def _measured(mask_ap):
    numbers = dict.fromkeys(NUMBERS)
    return CocoResult(
        bbox=numbers, segm={**numbers, "AP": mask_ap}, images=0, instances=0, detections=0
    )
