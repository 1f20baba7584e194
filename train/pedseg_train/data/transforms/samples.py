"""Samples: for evaluation as they are, for training as a pure function of image, seed and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ..protocol import SegmentationDataset
from .augmentation import Augmentation, Sample
from .randomness import randint, seeded

if TYPE_CHECKING:
    from ...recipes import Recipe


def evaluation_transform() -> v2.Compose:
    """Image to a plain float32 tensor [3, H, W] in 0..1, target values to plain tensors."""
    # Only images are converted and scaled: ToDtype leaves boxes and masks alone.
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()])


class Draw(NamedTuple):
    """A training sample to compute.

    Attributes:
        position: among the training images.
        seed: of the sample's augmentation.
        min_size: shorter side before jitter, in pixels.
    """

    position: int
    seed: int
    min_size: int


class TrainingSamples(Dataset[Sample]):
    """Some images of a dataset, augmented; `samples[draw]` depends on `draw` alone.

    Neither the number of workers nor earlier samples matter, so that a run can be resumed within
    an epoch and distributed over processes.

    Args:
        dataset: all images, without transforms.
        indices: the positions in `dataset` to train on.
        recipe: the settings.
    """

    def __init__(
        self, dataset: SegmentationDataset, indices: Sequence[int], recipe: Recipe
    ) -> None:
        self._dataset = dataset
        self._indices = tuple(indices)
        self._augment = Augmentation(recipe, box_edge=dataset.box_edge)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, draw: Draw) -> Sample:
        with seeded(draw.seed):
            return self._augment(
                self._dataset[self._indices[draw.position]],
                min_size=draw.min_size,
                sample_other=self._sample_other,
            )

    def _sample_other(self) -> Sample:
        return self._dataset[self._indices[randint(0, len(self) - 1)]]
