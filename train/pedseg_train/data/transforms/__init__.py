"""Transforms of a sample between the file and the model."""

from .augmentation import Augmentation
from .geometry import Geometry, resized_size
from .samples import Draw, TrainingSamples, evaluation_transform

__all__ = [
    "Augmentation",
    "Draw",
    "Geometry",
    "TrainingSamples",
    "evaluation_transform",
    "resized_size",
]
