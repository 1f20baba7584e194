import pytest
import torch

from pedseg_runtime.errors import InputError
from pedseg_train.data import PennFudanDataset, evaluation_transform, training_transform


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


def test_a_flip_mirrors_picture_boxes_and_masks_together(dataset):
    image, target = PennFudanDataset(dataset, transform=evaluation_transform())[0]
    flipped, mirrored = PennFudanDataset(dataset, transform=training_transform(flip=1))[0]
    assert torch.equal(flipped, image.flip(-1))
    assert torch.equal(mirrored["masks"], target["masks"].flip(-1))
    x1, x2 = 30 - target["boxes"][:, 2], 30 - target["boxes"][:, 0]
    assert torch.equal(mirrored["boxes"][:, [0, 2]], torch.stack([x1, x2], 1))


def test_no_flip_is_the_evaluation_transform(dataset):
    image, _ = PennFudanDataset(dataset, transform=evaluation_transform())[0]
    unflipped, _ = PennFudanDataset(dataset, transform=training_transform(flip=0))[0]
    assert torch.equal(unflipped, image)


def test_the_flip_follows_the_global_generator(dataset):
    samples = PennFudanDataset(dataset, transform=training_transform())
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = [samples[0][0] for _ in range(16)]
        torch.manual_seed(3)
        second = [samples[0][0] for _ in range(16)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({image.numpy().tobytes() for image in first}) == 2


@pytest.mark.parametrize("flip", [-0.1, 1.5])
def test_a_flip_that_is_no_probability_is_refused(flip):
    with pytest.raises(InputError, match="from 0 to 1"):
        training_transform(flip)
