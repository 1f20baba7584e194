"""Training samples as a pure function of picture, seed and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch.utils.data import Dataset

from ..protocol import SegmentationDataset
from .augmentation import Augmentation, Sample
from .chance import integer, seeded

if TYPE_CHECKING:
    from ...recipes import Recipe


class Draw(NamedTuple):
    """What to train on next.

    Attributes:
        position: among the training pictures.
        seed: of everything that is random about this showing of it.
        min_size: shorter side before jitter, in pixels.
    """

    position: int
    seed: int
    min_size: int


class TrainingSamples(Dataset[Sample]):
    """Some pictures of a dataset, augmented; `samples[draw]` is the same wherever it is computed.

    Neither the number of workers nor what was drawn before matters, so that a run can be taken up
    in the middle of an epoch, and split over processes.

    Args:
        dataset: all pictures, without transforms.
        indices: the positions in `dataset` to train on.
        recipe: the settings.
    """

    def __init__(
        self, dataset: SegmentationDataset, indices: Sequence[int], recipe: Recipe
    ) -> None:
        self._dataset = dataset
        self._indices = tuple(indices)
        self._augment = Augmentation(recipe)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, draw: Draw) -> Sample:
        with seeded(draw.seed):
            return self._augment(
                self._dataset[self._indices[draw.position]],
                min_size=draw.min_size,
                another=self._another,
            )

    def _another(self) -> Sample:
        return self._dataset[self._indices[integer(0, len(self) - 1)]]
