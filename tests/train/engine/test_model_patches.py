"""Each patched module, and a network with all of them, equals torchvision's own."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead, concat_box_prediction_layers
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from pedseg_train.architectures import ARCHITECTURES, BATCH_NORM, FROZEN, assemble, norm_of
from pedseg_train.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from pedseg_train.eager import EagerSegmenter
from pedseg_train.engine.model_patches import BoxSampling, patch_model
from pedseg_train.engine.model_patches.box_sampling import SeededSampler
from pedseg_train.engine.model_patches.frozen_norms import fold_frozen_norms
from pedseg_train.engine.model_patches.region_proposals import (
    differentiate_samples_only,
    sampled_answers,
)
from pedseg_train.engine.model_patches.roi_align import _RowPool
from pedseg_train.engine.model_patches.transform import TrainingTransform
from pedseg_train.recipes import RECIPES

pytestmark = pytest.mark.slow


def with_statistics(model):
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for name, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5)):
                getattr(module, name).uniform_(low, low + 1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


@pytest.mark.parametrize("name", [name for name, a in ARCHITECTURES.items() if not a.normalised])
def test_folded_norms_give_the_same_features_and_gradients(name):
    plain = with_statistics(assemble(ARCHITECTURES[name], num_classes=2, norm=FROZEN)).backbone
    plain.double()  # so that what is left of a difference is no rounding
    folded = copy.deepcopy(plain)
    norms = [module for module in plain.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert fold_frozen_norms(folded) == len(norms) > 10
    assert folded.state_dict().keys() == plain.state_dict().keys()
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    results = []
    for backbone in (plain, folded):
        features = backbone(image)
        sum(feature.square().mean() for feature in features.values()).backward()
        features = [feature.detach() for feature in features.values()]
        results.append([*features, *(p.grad for p in backbone.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8 * float(one.abs().max()))


@pytest.mark.parametrize("norm", [FROZEN, BATCH_NORM], ids=lambda norm: norm.kind)
def test_the_checkpoint_of_a_patched_network_shows_nothing_of_it(tmp_path, norm):
    model = assemble(ARCHITECTURES["maskrcnn_resnet18_fpn"], num_classes=2, norm=norm)
    model = with_statistics(model)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    patch_model(model, RECIPES["tutorial"])
    header = CheckpointHeader.of(
        model, architecture="maskrcnn_resnet18_fpn", class_names=("background", "person")
    )
    save_checkpoint(tmp_path / "model.safetensors", model, header)
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    assert norm_of(loaded.model) == norm
    found = loaded.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_folded_norms_survive_a_copy():
    backbone = with_statistics(
        assemble(ARCHITECTURES["maskrcnn_resnet18_fpn"], num_classes=2, norm=FROZEN)
    ).backbone
    fold_frozen_norms(backbone)
    copied = copy.deepcopy(backbone)
    with torch.no_grad():
        backbone.body.bn1.bias.add_(1.0)
    image = torch.rand(1, 3, 64, 64)
    assert not torch.equal(copied(image)["0"], backbone(image)["0"])


def matched(seed, count, positives):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 1, (count,), generator=generator)
    labels[torch.randperm(count, generator=generator)[:positives]] = 1
    return labels


@pytest.mark.parametrize("positives", [0, 3, 60])
def test_each_image_is_sampled_as_torchvision_would(positives):
    images = [matched(1, 200, positives), matched(2, 300, positives), matched(3, 4, 1)]
    torchvisions = BalancedPositiveNegativeSampler(32, 0.25)
    sampler = SeededSampler(torchvisions)
    sampler.seeds = (11, 12, 13)
    found = sampler(images)
    for position, (labels, seed) in enumerate(zip(images, sampler.seeds, strict=True)):
        torch.manual_seed(seed)
        expected = torchvisions([labels])
        assert torch.equal(found[0][position], expected[0][0])
        assert torch.equal(found[1][position], expected[1][0])
    assert sampler.positives == sum(int(mask.sum()) for mask in found[0])
    assert sampler.total == sampler.positives + sum(int(mask.sum()) for mask in found[1])


@pytest.fixture
def sample():
    boxes = torch.tensor([[8.0, 8, 30, 50], [34, 10, 50, 60]])
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return torch.rand(3, 64, 64), {"boxes": boxes, "labels": torch.ones(2).long(), "masks": masks}


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_patched_network_has_torchvisions_losses_and_gradients(sample, channels_last):
    image, target = sample
    recipe = dataclasses.replace(RECIPES["tutorial"], channels_last=channels_last)
    torch.manual_seed(3)
    plain = assemble(
        ARCHITECTURES["maskrcnn_resnet18_fpn"], num_classes=2, norm=FROZEN, min_size=64, max_size=64
    )
    ours = copy.deepcopy(plain)
    BoxSampling(plain).seed([5])
    patch_model(ours, recipe).seed([5])
    expected, found = plain([image], [target]), ours([image], [target])
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    sum(expected.values()).backward()
    sum(found.values()).backward()
    for (name, one), other in zip(plain.named_parameters(), ours.parameters(), strict=True):
        # By length: where rounding turns a ReLU on or off, single numbers differ.
        assert (one.grad - other.grad).norm() <= 1e-3 * one.grad.norm() + 1e-7, name


@given(
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=3),
    images=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_sampled_answers_are_those_of_the_dense_head(sizes, images, seed):
    torch.manual_seed(seed)
    head = RPNHead(4, 3).double()
    levels = [torch.randn(images, 4, *size, dtype=torch.float64) for size in sizes]
    logits, offsets = (
        dense.reshape(-1, width)
        for dense, width in zip(concat_box_prediction_layers(*head(levels)), (1, 4), strict=True)
    )
    anchors = torch.randperm(len(logits))[: max(1, len(logits) // 3)]
    found = sampled_answers(head, levels, anchors)
    torch.testing.assert_close(found[0], logits[anchors, 0].float())
    torch.testing.assert_close(found[1], offsets[anchors].float())


@pytest.fixture
def network():
    """A network of torchvision's whose draws are seeded, and images for it as one batch."""
    torch.manual_seed(3)
    model = assemble(
        ARCHITECTURES["maskrcnn_resnet18_fpn"], num_classes=2, norm=FROZEN, min_size=64, max_size=64
    )
    BoxSampling(model).seed([5, 6])
    return model


def test_the_patched_proposal_network_is_torchvisions(network, sample):
    """In float64, so that what is left of a difference is no rounding."""
    _, target = sample
    plain = network.rpn.double()
    ours = copy.deepcopy(network)
    assert differentiate_samples_only(ours)
    assert ours.rpn.state_dict().keys() == plain.state_dict().keys()
    images = ImageList(torch.zeros(2, 3, 64, 64, dtype=torch.float64), [(64, 64), (60, 50)])
    targets = [{**target, "boxes": target["boxes"].double()}, target | {"boxes": torch.empty(0, 4)}]
    features = {
        str(level): torch.randn(2, 256, side, side, dtype=torch.float64)
        for level, side in enumerate((16, 8, 4, 2, 1))
    }
    for training in (True, False):
        results = []
        for rpn in (plain, ours.rpn):
            rpn.train(training).zero_grad()
            leaves = {name: level.clone().requires_grad_() for name, level in features.items()}
            boxes, losses = rpn(images, leaves, targets)
            if training:
                sum(losses.values()).backward()
            gradients = [leaf.grad for leaf in (*leaves.values(), *rpn.parameters())]
            results.append(([box.detach() for box in boxes], losses, gradients))
        torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-7)


def test_a_batch_of_images_of_their_final_size_is_torchvisions(network, sample):
    image, target = sample
    ours = TrainingTransform(network.transform, torch.channels_last)
    images, targets = [image, image[:, :, :40]], [target, target]
    for training, batch in ((True, images[:1]), (False, images)):
        expected, _ = network.transform.train(training)(batch, targets[: len(batch)])
        found, _ = ours.train(training)(batch, targets[: len(batch)])
        assert found.image_sizes == expected.image_sizes
        assert torch.equal(found.tensors, expected.tensors)
        assert found.tensors.is_contiguous(memory_format=torch.channels_last)
    smaller, _ = ours.train()([image[:, :32, :48]], None)
    assert smaller.image_sizes == [(32, 48)]


def test_counts_are_those_that_the_losses_are_means_of(sample):
    image, target = sample
    model = assemble(
        ARCHITECTURES["maskrcnn_resnet18_fpn"], num_classes=2, norm=FROZEN, min_size=64,
        max_size=64, box_batch=8,
    )  # fmt: skip
    sampling = BoxSampling(model)
    sampling.seed([1, 2])
    logits = []
    model.roi_heads.box_predictor.register_forward_hook(lambda *a: logits.append(len(a[-1][0])))
    losses = model([image, image], [target, target])
    counts = sampling.counts()
    assert losses.keys() == counts.keys()
    assert counts["loss_classifier"] == counts["loss_box_reg"] == logits[0] == 16
    assert counts["loss_mask"] == 4
    assert counts["loss_objectness"] == counts["loss_rpn_box_reg"] == 512


def test_a_patched_network_detects_as_before(tiny_model, noise):
    expected = EagerSegmenter(copy.deepcopy(tiny_model), class_names=("background", "person"))(
        noise
    )
    patch_model(tiny_model, RECIPES["tutorial"])
    found = EagerSegmenter(tiny_model, class_names=("background", "person"))(noise)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)


boxes_within = st.lists(
    st.tuples(st.floats(-10, 80), st.floats(-10, 80), st.floats(0, 90), st.floats(0, 90)),
    max_size=6,
)


@given(one=boxes_within, other=boxes_within, size=st.sampled_from([2, 7, 14]))
def test_rows_pool_what_torchvisions_kernel_pools(one, other, size):
    """Boxes of no size, beyond the border and far outside are among them."""
    assume(one or other)  # without a box there is nothing to differentiate
    plain = MultiScaleRoIAlign(["0", "1"], size, 2)
    plain.scales, plain.map_levels = [1 / 4, 1 / 8], initLevelMapper(2, 3, 16, 2)
    ours = copy.deepcopy(plain)
    ours.__class__ = _RowPool
    boxes = [
        torch.tensor([[x, y, x + w, y + h] for x, y, w, h in found]).reshape(-1, 4)
        for found in (one, other)
    ]
    torch.manual_seed(0)
    features = {"0": torch.randn(2, 3, 16, 20), "1": torch.randn(2, 3, 8, 10)}
    results = []
    for pool in (plain, ours):
        leaves = {name: level.clone().requires_grad_() for name, level in features.items()}
        pooled = pool(leaves, boxes, [(64, 80)] * 2)
        (pooled * torch.linspace(0, 1, size)).sum().backward()
        results.append((pooled.detach(), *(leaf.grad for leaf in leaves.values())))
    for expected, found in zip(*results, strict=True):
        if expected is not None and found is not None:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
