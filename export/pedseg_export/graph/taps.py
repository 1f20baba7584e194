"""Names for the values between two stages, by which an artifact can be examined stage by stage.

`torch.export` loses the names that code gives to values. An operator that does nothing carries them
through; the formats then remove it and give its input the name. Scripted graphs need none: their
stages stay modules.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = "stage.pixels"
FEATURES = "stage.features"  # and a dot and the level
PROPOSAL_BOXES = "stage.proposals.boxes"
PROPOSAL_SCORES = "stage.proposals.scores"
BOXES = "stage.boxes"  # in pixels of the resized image
# These are outputs too, and keep the names that the contract gives them.
LABELS, SCORES, IMAGE_INDEX, ROI_MASKS = "labels", "scores", "image_index", "roi_masks"


@torch.library.custom_op("pedseg::tap", mutates_args=())
def tap_operator(value: Tensor, name: str) -> Tensor:  # noqa: ARG001  read by the formats
    """`value`, under `name`."""
    return value.clone()


@tap_operator.register_fake
def _(value: Tensor, name: str) -> Tensor:  # noqa: ARG001
    return torch.empty_like(value)


def tap(value: Tensor, name: str) -> Tensor:
    """`value`; an exported graph knows it by `name`."""
    if not torch.jit.is_scripting():  # type: ignore[attr-defined]
        if torch.compiler.is_exporting():
            value = torch.ops.pedseg.tap(value, name)
    return value
