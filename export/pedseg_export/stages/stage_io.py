"""Inputs and outputs of the stages, and the interface of an artifact that is split into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pedseg_runtime.errors import ArtifactError

from ..graph.intermediates import (
    BOXES,
    FEATURES,
    IMAGE_INDEX,
    LABELS,
    PIXELS,
    PROPOSAL_BOXES,
    PROPOSAL_SCORES,
    ROI_MASKS,
    SCORES,
)
from .eager_trace import FINAL_BOXES, MASKS, Arrays

EXPECTED_BOXES = "boxes.expected"
"""Boxes that torchvision computes from the input of the last step, where that is not eager's."""


@dataclass(frozen=True, slots=True)
class StageFailure:
    """Replaces a value that a stage failed to compute from eager's input."""

    reason: str


StageOutputs = Mapping[str, NDArray[Any] | StageFailure]


class SplitArtifact(Protocol):
    """An artifact whose stages run one by one."""

    def run(self, images: NDArray[np.uint8], eager: Arrays) -> StageOutputs:
        """Run each stage on eager's input for it.

        Args:
            images: uint8 [N, H, W, 3] RGB, N times the same image.
            eager: eager's intermediate values for them, see `repeat_for_batch`.

        Returns:
            The values by the same names, float32 or int64, and `masks` if the artifact pastes
            them.
        """


def stage_outputs(levels: int, mask_format: str) -> Sequence[tuple[str, ...]]:
    """Names of the outputs of each stage, in the order of the stages."""
    last = (FINAL_BOXES, MASKS) if mask_format == "full" else (FINAL_BOXES,)
    return (
        (PIXELS,),
        tuple(f"{FEATURES}.{level}" for level in range(levels)),
        (PROPOSAL_BOXES, PROPOSAL_SCORES),
        (BOXES, LABELS, SCORES, IMAGE_INDEX),
        (ROI_MASKS,),
        last,
    )


def missing_stages(path: Path, found: str) -> ArtifactError:
    """The error for an artifact whose stages have no names."""
    return ArtifactError(
        f"{path}: expected an artifact whose stages have names, found {found}; it was made by an "
        "older pedseg or by another tool: export the checkpoint again, or verify without --stages"
    )


def to_numpy(value: Tensor | StageFailure) -> NDArray[Any] | StageFailure:
    """Convert a tensor to numpy; lower precisions become float32."""
    if isinstance(value, StageFailure):
        return value
    found: NDArray[Any] = (value.float() if value.is_floating_point() else value).cpu().numpy()
    return found
