"""Where one stage ends and the next begins, and what an artifact that is cut there can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pedseg_runtime.errors import ArtifactError

from ..graph.taps import (
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
from .passage import FINAL_BOXES, MASKS, Arrays

EXPECTED_BOXES = "boxes.expected"
"""What torchvision makes of the boxes that a format fed its last step with, if not eager's."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Stands for a value that a stage could not compute from eager's input."""

    reason: str


Found = Mapping[str, NDArray[Any] | Failed]


class CutArtifact(Protocol):
    """An artifact whose stages can be run one by one."""

    def run(self, images: NDArray[np.uint8], eager: Arrays) -> Found:
        """What each stage makes of eager's input for it.

        Args:
            images: uint8 [N, H, W, 3] RGB, N times the same image.
            eager: what eager passes on for them, see `passage.of_batch`.

        Returns:
            The values under the same names, float32 or int64, and `masks` where the artifact
            pastes them.
        """


def groups(levels: int, mask_format: str) -> Sequence[tuple[str, ...]]:
    """The names of the values that each stage yields, in the order of the stages."""
    last = (FINAL_BOXES, MASKS) if mask_format == "full" else (FINAL_BOXES,)
    return (
        (PIXELS,),
        tuple(f"{FEATURES}.{level}" for level in range(levels)),
        (PROPOSAL_BOXES, PROPOSAL_SCORES),
        (BOXES, LABELS, SCORES, IMAGE_INDEX),
        (ROI_MASKS,),
        last,
    )


def unknown_stages(path: Path, found: str) -> ArtifactError:
    """The error for an artifact in which the stages cannot be found."""
    return ArtifactError(
        f"{path}: expected an artifact whose stages have names, found {found}; it was made by an "
        "older pedseg or by another tool: export the checkpoint again, or verify without --stages"
    )


def as_numpy(value: Tensor | Failed) -> NDArray[Any] | Failed:
    """A tensor as numpy has it: what is of a lower precision becomes float32."""
    if isinstance(value, Failed):
        return value
    found: NDArray[Any] = (value.float() if value.is_floating_point() else value).cpu().numpy()
    return found
