"""Names for intermediate values, by which an artifact can be examined stage by stage.

`torch.export` loses the names of values. An operator that does nothing carries them through the
export; the formats then remove it and give its input the name. Scripted graphs do not need it:
their stages stay modules.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = "stage.pixels"
FEATURES = "stage.features"  # followed by a dot and the level
PROPOSAL_BOXES = "stage.proposals.boxes"
PROPOSAL_SCORES = "stage.proposals.scores"
BOXES = "stage.boxes"  # in pixels of the resized image
# These are outputs too, with the names of the artifact's contract.
LABELS, SCORES, IMAGE_INDEX, ROI_MASKS = "labels", "scores", "image_index", "roi_masks"


@torch.library.custom_op("pedseg::mark_intermediate", mutates_args=())
def mark_operator(value: Tensor, name: str) -> Tensor:  # noqa: ARG001  read by the formats
    """`value`, under `name`."""
    return value.clone()


@mark_operator.register_fake
def _(value: Tensor, name: str) -> Tensor:  # noqa: ARG001
    return torch.empty_like(value)


def mark_intermediate(value: Tensor, name: str) -> Tensor:
    """Return `value`, which an exported graph keeps under `name`."""
    if not torch.jit.is_scripting():  # type: ignore[attr-defined]
        if torch.compiler.is_exporting():
            value = torch.ops.pedseg.mark_intermediate(value, name)
    return value
