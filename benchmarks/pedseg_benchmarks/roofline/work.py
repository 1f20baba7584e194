"""How many floating-point operations a torchvision Mask R-CNN performs on an image.

Counted by the textbook formula: two per multiply-add of the convolutions, deconvolutions and
linear layers, whatever an implementation really does. Resizing, NMS, RoIAlign and pasting are left
out: they are no matrix products, and small.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN

from ..contenders import Image


@dataclass(frozen=True, slots=True)
class Unit:
    """Operations of the parts that run once per region.

    Attributes:
        model: the model as shapes only, on torch's `meta` device: counting computes nothing.
        proposal: of the box head, for one region proposal.
        detection: of the mask head, for one detection.
    """

    model: MaskRCNN
    proposal: int
    detection: int


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of a model on one image.

    Attributes:
        trunk: of backbone, pyramid and region proposal network, on the resized and padded image.
        proposals: regions that the box head classified.
        unit: operations per region.
    """

    trunk: int
    proposals: int
    unit: Unit

    def flop(self, detections: int) -> int:
        """All operations, if the mask head runs for so many detections."""
        return self.trunk + self.proposals * self.unit.proposal + detections * self.unit.detection


def per_unit(model: MaskRCNN) -> Unit:
    """Count what one more proposal and one more detection cost `model`."""
    shapes = copy.deepcopy(model).to("meta").eval()
    heads, channels = shapes.roi_heads, int(shapes.backbone.out_channels)
    box, mask = (_pooled(pool, channels) for pool in (heads.box_roi_pool, heads.mask_roi_pool))
    return Unit(
        model=shapes,
        proposal=_count(lambda: heads.box_predictor(heads.box_head(box))),
        detection=_count(lambda: heads.mask_predictor(heads.mask_head(mask))),
    )


def count_work(model: MaskRCNN, image: Image, unit: Unit) -> Work:
    """Count the operations of `model` on `image`, uint8 [H, W, 3] RGB.

    The model runs once, since only that tells how many proposals are left after NMS.
    """
    padded, proposals = _observe(model, image)
    shapes, batch = unit.model, torch.empty(1, 3, *padded, device="meta")
    return Work(_count(lambda: _trunk(shapes, batch)), proposals, unit)


def _trunk(model: MaskRCNN, batch: torch.Tensor) -> None:
    """Backbone, pyramid and the head of the region proposal network, on [1, 3, H, W]."""
    model.rpn.head(list(model.backbone(batch).values()))


@torch.inference_mode()
def _observe(model: MaskRCNN, image: Image) -> tuple[tuple[int, int], int]:
    """Run the model: height and width that the backbone saw, and the number of proposals."""
    seen: dict[str, Any] = {}

    def keep_size(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen["size"] = tuple(inputs[0].shape[-2:])

    def keep_count(_module: nn.Module, _inputs: Any, pooled: torch.Tensor) -> None:
        seen["proposals"] = len(pooled)

    where = next(model.parameters()).device
    tensor = torch.from_numpy(image.copy()).to(where).permute(2, 0, 1).float() / 255
    hooks = [
        model.backbone.register_forward_pre_hook(keep_size),
        model.roi_heads.box_roi_pool.register_forward_hook(keep_count),
    ]
    try:
        model([tensor])
    finally:
        for hook in hooks:
            hook.remove()
    return seen["size"], seen["proposals"]


def _pooled(pool: Any, channels: int) -> torch.Tensor:
    """One pooled region as shape only, [1, C, H, W]."""
    return torch.empty(1, channels, *pool.output_size, device="meta")


def _count(run: Callable[[], object]) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())
