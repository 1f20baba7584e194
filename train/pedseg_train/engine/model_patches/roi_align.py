"""RoIAlign on the CPU as sums of rows, which is several times faster to differentiate.

Torchvision's CPU kernel walks through the channels one by one and has one thread for its backward
pass. RoIAlign is linear in the features: each cell of its answer is the sum of sixteen feature
vectors (four samples, four neighbours each) with weights that depend on the box alone. With the
channels side by side in memory that is an embedding bag, forward and backward. The answer is the
same up to rounding. On CUDA, torchvision's kernel does well and is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F
from torchvision.models.detection import MaskRCNN
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import _convert_to_roi_format

_SAMPLES = 2  # per cell and axis, torchvision's sampling ratio for detectors


def pool_by_rows(model: MaskRCNN) -> None:
    """Change the model's two poolers in place; in eval mode they stay torchvision's."""
    for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
        if pool.sampling_ratio == _SAMPLES:
            pool.__class__ = _RowPool


class _RowPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """Torchvision's pooler with another way to sum on the CPU in training."""

    def forward(
        self,
        x: dict[str, torch.Tensor],
        boxes: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> torch.Tensor:
        """Features [K, C, h, w] of the boxes of all images, in their order."""
        levels = [x[name] for name in self.featmap_names]
        if not self.training or levels[0].is_cuda:
            pooled: torch.Tensor = super().forward(x, boxes, image_shapes)
            return pooled
        rois = _convert_to_roi_format(boxes)
        chosen = self.map_levels(boxes)
        channels, cells = levels[0].shape[1], self.output_size[0] * self.output_size[1]
        rows = levels[0].new_zeros((len(rois), cells * channels))
        for number, (level, scale) in enumerate(zip(levels, self.scales, strict=True)):
            (here,) = torch.where(chosen == number)
            if len(here):
                found = _pool(level, rois[here], scale, self.output_size)
                # index_copy, since autograd must see where the rows come from.
                rows = rows.index_copy(0, here, found.to(rows).flatten(1))
        return rows.view(len(rois), *self.output_size, channels).permute(0, 3, 1, 2)


def _pool(
    level: torch.Tensor, rois: torch.Tensor, scale: float, output_size: Sequence[int]
) -> torch.Tensor:
    """One level: features [N, C, H, W], rois [K, 5] (image, box) -> [K, h * w, C]."""
    _, channels, height, width = level.shape
    rows, row_weights = _taps(rois[:, 2] * scale, rois[:, 4] * scale, output_size[0], height)
    columns, column_weights = _taps(rois[:, 1] * scale, rois[:, 3] * scale, output_size[1], width)
    first = rois[:, 0].long()[:, None, None, None, None] * height
    places = (first + rows[:, :, None, :, None]) * width + columns[:, None, :, None, :]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    bag = (2 * _SAMPLES) ** 2
    table = level.permute(0, 2, 3, 1).reshape(-1, channels).float()
    summed = F.embedding_bag(
        places.reshape(-1, bag), table, mode="sum", per_sample_weights=weights.reshape(-1, bag)
    )
    return summed.view(len(rois), -1, channels)


def _taps(
    low: torch.Tensor, high: torch.Tensor, cells: int, side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """One axis of RoIAlign: which lines each cell reads, and with what weight.

    Args:
        low: where the boxes begin, in lines of the level, float32 [K].
        high: where they end.
        cells: that a box is divided into.
        side: lines of the level.

    Returns:
        Lines int64 [K, cells, 4] and weights float32 [K, cells, 4]: two neighbours per sample.
    """
    cell = (high - low).clamp_min(1.0)[:, None] / cells
    steps = torch.arange(cells * _SAMPLES, device=low.device, dtype=low.dtype)
    places = low[:, None] + (steps // _SAMPLES + (steps % _SAMPLES + 0.5) / _SAMPLES) * cell
    there = (places >= -1) & (places <= side)  # further out nothing is read
    places = places.clamp(0, side - 1)
    lines = places.floor().long()
    after = (lines + 1).clamp_max(side - 1)
    share = places - lines
    share_weights = torch.stack([1 - share, share], dim=-1) * there[..., None] / _SAMPLES
    return (
        torch.stack([lines, after], dim=-1).view(len(low), cells, -1),
        share_weights.view(len(low), cells, -1),
    )
