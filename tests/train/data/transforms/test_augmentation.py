"""Whatever is drawn, image, masks, boxes and labels tell of the same people."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from pedseg_train.data import PennFudanDataset, evaluation_transform
from pedseg_train.data.protocol import tight_boxes
from pedseg_train.data.transforms import Augmentation
from pedseg_train.data.transforms.augmentation import draw_geometry
from pedseg_train.data.transforms.randomness import seeded
from pedseg_train.recipes import RECIPES

SMALL = dataclasses.replace(RECIPES["tutorial"], min_size=32, max_size=64)


def made_up(seed: int, people: int, height: int, width: int):
    """People are rectangles of their own colour (10, 20, ...) on black; later ones lie in front."""
    random = np.random.default_rng(seed)
    masks = np.zeros((people, height, width), np.uint8)
    for person in range(people):
        h, w = random.integers(2, height + 1), random.integers(2, width + 1)
        y, x = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
        masks[:person, y : y + h, x : x + w] = 0
        masks[person, y : y + h, x : x + w] = 1
    boxes = tight_boxes(masks)
    masks = masks[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    image = np.zeros((height, width), np.uint8)
    for person, mask in enumerate(masks):
        image[mask == 1] = colour(person)
    found = torch.from_numpy(masks)
    return torch.from_numpy(np.stack([image] * 3)), {
        "image_id": seed,
        "boxes": torch.from_numpy(tight_boxes(found.numpy())).float(),
        "labels": torch.arange(1, len(masks) + 1),
        "masks": found,
        "iscrowd": torch.zeros(len(masks), dtype=torch.int64),
    }


def colour(person: int) -> int:
    return 10 * (person + 1)


samples = st.builds(
    made_up, st.integers(0, 999), st.integers(0, 6), st.integers(8, 70), st.integers(8, 70)
)
geometric_recipes = st.builds(
    lambda low, high, **others: dataclasses.replace(
        SMALL, scale_min=min(low, high), scale_max=max(low, high), **others
    ),
    st.floats(0.1, 2.0),
    st.floats(0.1, 2.0),
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    crop=st.sampled_from([0.0, 1.0]),
    crop_min=st.floats(0.1, 1.0),
    copy_paste=st.sampled_from([0.0, 1.0]),
)


def augmented(recipe, sample, other=None, seed=0):
    with seeded(seed):
        return Augmentation(recipe)(
            sample, min_size=recipe.min_size, sample_other=lambda: other or sample
        )


@given(recipe=geometric_recipes, sample=samples, other=samples, seed=st.integers(0, 99))
def test_everything_stays_consistent(recipe, sample, other, seed):
    image, target = augmented(recipe, sample, other, seed)
    boxes, masks = target["boxes"], target["masks"]
    assert image.dtype == torch.float32
    assert masks.dtype == torch.uint8
    assert image.shape[1:] == masks.shape[1:]
    assert len(boxes) == len(masks) == len(target["labels"]) == len(target["iscrowd"])
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert masks.flatten(1).any(dim=1).all()
    assert set(masks.unique().tolist()) <= {0, 1}
    assert (masks.sum(0) <= 1).all(), "people that do not overlap still do not"
    assert torch.equal(target["area"], (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    assert target["image_id"] == sample[1]["image_id"]


@given(recipe=geometric_recipes, sample=samples, other=samples, seed=st.integers(0, 99))
def test_boxes_are_tight_by_the_tutorials_rule(recipe, sample, other, seed):
    cutting = recipe.crop or recipe.copy_paste or recipe.scale_max > 1
    assume(cutting)
    _, target = augmented(recipe, sample, other, seed)
    assume(len(target["boxes"]))
    assert torch.equal(target["boxes"], masks_to_boxes(target["masks"]))


@given(recipe=geometric_recipes, sample=samples, seed=st.integers(0, 99))
def test_labels_go_with_their_people(recipe, sample, seed):
    """Away from its edge, a person's mask covers the colour that belongs to its label."""
    recipe = dataclasses.replace(recipe, copy_paste=0.0)
    image, target = augmented(recipe, sample, seed=seed)
    # Bilinear scaling mixes colours within a pixel of the source's edge.
    reach = 2 * math.ceil(2 * 32 / min(sample[0].shape[1:])) + 1
    for label, mask in zip(target["labels"].tolist(), target["masks"], strict=True):
        outside = F.max_pool2d(1 - mask[None].float(), 2 * reach + 1, stride=1, padding=reach)[0]
        inside = (image[0] * 255)[outside == 0]
        torch.testing.assert_close(inside, torch.full_like(inside, colour(label - 1)))


@given(sample=samples, seed=st.integers(0, 99))
def test_a_crop_keeps_somebody(sample, seed):
    assume(len(sample[1]["labels"]))
    recipe = dataclasses.replace(SMALL, crop=1.0, crop_min=0.2, min_size=64, max_size=200)
    source_masks = sample[1]["masks"]
    with seeded(seed):
        geometry = draw_geometry(recipe, source_masks, sample[1]["boxes"], recipe.min_size)
    assert dataclasses.replace(geometry, size=geometry.window).masks(source_masks).any()


@given(sample=samples, seed=st.integers(0, 99))
def test_jitter_never_exceeds_the_size_of_torchvisions_rule(sample, seed):
    recipe = dataclasses.replace(SMALL, scale_min=0.1, scale_max=2.0)
    plain, _ = augmented(SMALL, sample)
    image, _ = augmented(recipe, sample, seed=seed)
    assert image.shape[1] <= plain.shape[1]
    assert image.shape[2] <= plain.shape[2]


@given(sample=samples, flip=st.booleans())
def test_the_tutorials_recipe_is_the_tutorial(sample, flip):
    """Its transforms, then the resizing that torchvision's network would do."""
    recipe = dataclasses.replace(SMALL, flip=float(flip))
    image, target = augmented(recipe, sample)
    size = tuple(sample[0].shape[1:])
    wrapped = {
        **sample[1],
        "boxes": tv_tensors.BoundingBoxes(sample[1]["boxes"], format="XYXY", canvas_size=size),
        "masks": tv_tensors.Mask(sample[1]["masks"]),
    }
    steps = [v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
    flipped = v2.Compose([v2.RandomHorizontalFlip(float(flip)), *steps])
    expected = flipped(tv_tensors.Image(sample[0]), wrapped)
    resize = GeneralizedRCNNTransform(32, 64, [0.0] * 3, [1.0] * 3)
    expected_image, expected_target = resize.resize(expected[0], dict(expected[1]))
    torch.testing.assert_close(image, expected_image, atol=1e-6, rtol=0)
    torch.testing.assert_close(target["boxes"], expected_target["boxes"])
    kept = target["labels"] - 1
    assert torch.equal(target["masks"], expected_target["masks"][kept])


def test_vanished_people_are_dropped_with_their_labels():
    """A person covered by a pasted one is gone; one who looks out is cut."""
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    back = torch.zeros(2, 32, 32, dtype=torch.uint8)
    back[0, 10:14, 10:14] = 1
    back[1, 4:8, 4:30] = 1
    front = torch.zeros(1, 32, 32, dtype=torch.uint8)
    front[0, 2:20, 8:20] = 1

    def sample(masks, first):
        labels = torch.arange(first, first + len(masks))
        return image, {
            "image_id": 0,
            "boxes": masks_to_boxes(masks),
            "labels": labels,
            "masks": masks,
            "iscrowd": torch.zeros_like(labels),
        }

    recipe = dataclasses.replace(SMALL, flip=0.0, copy_paste=1.0)
    _, target = augmented(recipe, sample(back, 1), sample(front, 7))
    assert target["labels"].tolist() == [2, 7]
    assert target["boxes"].tolist() == [[4, 4, 29, 7], [8, 2, 19, 19]]
    assert not target["masks"][0, 4:8, 8:20].any()


def test_crowds_are_not_learnt():
    sample = made_up(3, 3, 40, 40)
    sample[1]["iscrowd"][0] = 1
    _, target = augmented(SMALL, sample)
    assert 1 not in target["labels"].tolist()
    assert len(target["labels"]) == len(sample[1]["labels"]) - 1


@pytest.mark.parametrize("field", ["brightness", "contrast", "saturation", "hue"])
def test_colours_change_within_their_range_and_nothing_else_does(field):
    sample = made_up(1, 4, 40, 50)
    sample[0][0] //= 2  # without some colour, saturation and hue have nothing to change
    plain, before = augmented(dataclasses.replace(SMALL, flip=0.0), sample)
    changed, after = augmented(dataclasses.replace(SMALL, flip=0.0, **{field: 0.4}), sample, seed=5)
    assert not torch.equal(plain, changed)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert torch.equal(before["masks"], after["masks"])


def test_grey_images_have_three_equal_channels():
    sample = made_up(1, 4, 40, 50)
    sample[0][0] //= 2
    image, _ = augmented(dataclasses.replace(SMALL, grey=1.0), sample)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[1], image[2])


def test_evaluation_yields_plain_floats_in_0_to_1(dataset):
    plain, _ = PennFudanDataset(dataset)[0]
    image, target = PennFudanDataset(dataset, transform=evaluation_transform())[0]
    assert type(image) is torch.Tensor
    assert all(type(target[key]) is torch.Tensor for key in ("boxes", "masks"))
    assert image.dtype == torch.float32
    assert torch.equal((image * 255).round(), plain.float())
    assert target["masks"].dtype == torch.uint8
    assert target["masks"].max() == 1
    assert target["image_id"] == 0


@pytest.mark.parametrize("recompute", [False, True])
def test_boxes_of_coco_contain_the_last_pixel_after_every_change(recompute):
    """Mirrored, cut off, pasted or neither: every box is the extent of its mask."""
    recipe = dataclasses.replace(SMALL, flip=0.5)
    if recompute:
        recipe = dataclasses.replace(recipe, crop=0.5, copy_paste=0.5)
    augment = Augmentation(recipe, box_edge=1)
    # The longer side is scaled to itself: no mask pixel moves by a rounding.
    samples = [made_up(seed, 4, 32, 48) for seed in range(8)]
    for _, target in samples:
        target["boxes"][:, 2:] += 1
    for seed, sample in enumerate(samples):
        with seeded(seed):
            _, target = augment(sample, min_size=32, sample_other=lambda: samples[0])
        expected = tight_boxes(target["masks"].numpy())
        expected[:, 2:] += 1
        assert target["boxes"].tolist() == expected.tolist()
