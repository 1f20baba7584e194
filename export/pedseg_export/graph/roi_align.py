"""RoIAlign over a feature pyramid: `MultiScaleRoIAlign` without copies of the features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign


def roi_align_boxes(
    features: Tensor,
    boxes: Tensor,
    image_index: Tensor,
    scale: float,
    size: list[int],
    sampling_ratio: int,
) -> Tensor:
    """`torchvision.ops.roi_align` (aligned=False) with ONNX's signature.

    Args:
        features: float32 [N, C, h, w].
        boxes: float32 [R, 4], x1 y1 x2 y2 in pixels of the network's input.
        image_index: int64 [R].
        scale: of the features, e.g. 1/4.
        size: height and width of the result.
        sampling_ratio: samples per cell and axis.

    Returns:
        float32 [R, C, height, width].
    """
    rois = torch.cat([image_index.to(boxes.dtype).unsqueeze(1), boxes], dim=1)
    pooled: Tensor = torch.ops.torchvision.roi_align(
        features, rois, scale, size[0], size[1], sampling_ratio, False
    )
    return pooled


align_operator = torch.library.custom_op(
    "pedseg::align",
    roi_align_boxes,
    mutates_args=(),
    schema="(Tensor features, Tensor boxes, Tensor image_index, float scale, int[] size, "
    "int sampling_ratio) -> Tensor",
)


@align_operator.register_fake
def _(
    features: Tensor,
    boxes: Tensor,
    image_index: Tensor,  # noqa: ARG001
    scale: float,  # noqa: ARG001
    size: list[int],
    sampling_ratio: int,  # noqa: ARG001
) -> Tensor:
    return features.new_empty([boxes.shape[0], features.shape[1], size[0], size[1]])


TILE = 64.0  # pixels; boxes of one tile are processed together
TILES_PER_ROW = 2.0**10
LEVEL_STEP = TILES_PER_ROW**2  # between two levels, above the tile numbers of one level


class PyramidPooling(nn.Module):
    """Pool each box from the level of the pyramid that suits its size.

    The output is grouped by level and comes with the order applied: the following layers work on
    rows, so that only the few numbers per row are permuted back, not the pooled features.
    """

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        super().__init__()
        if pool.scales is None or pool.map_levels is None:
            raise ValueError("expected a pool with its scales set, as pedseg_train sets them")
        self.scales = [float(scale) for scale in pool.scales]
        self.size = [int(side) for side in pool.output_size]
        self.sampling_ratio = int(pool.sampling_ratio)
        self.level_step, self.per_tile = LEVEL_STEP, 1 / TILE
        self.exports_operator = False  # set for ONNX, see `align_operator`
        self.register_buffer("areas", level_areas(pool))
        self.register_buffer("tile_weights", torch.tensor([1.0, TILES_PER_ROW]))
        self.areas: Tensor
        self.tile_weights: Tensor

    def forward(
        self, features: list[Tensor], boxes: Tensor, image_index: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Pool boxes.

        Args:
            features: the pyramid, finest first, each [N, C, h, w]; pooled in float32, since
                half precision is too coarse for coordinates.
            boxes: float32 [R, 4], x1 y1 x2 y2 in pixels of the network's input.
            image_index: int64 [R].
            level: of the boxes, see `level_of`.

        Returns:
            float32 [R, C, size, size] ordered by level, and that order, int64 [R].
        """
        pooled: list[Tensor] = []
        order: list[Tensor] = []
        for number, scale in enumerate(self.scales):
            members = torch.nonzero(level == number * self.level_step).squeeze(1)
            order.append(members)
            pooled.append(
                self.align(
                    features[number].float(),
                    boxes.index_select(0, members),
                    image_index.index_select(0, members),
                    scale,
                )
            )
        return torch.cat(pooled), torch.cat(order)

    def level_of(self, boxes: Tensor) -> Tensor:
        """The level of boxes [R, 4], float32 [R]: `LEVEL_STEP` times its number."""
        corner, far = torch.split(boxes, 2, dim=1)
        area = (far - corner).prod(dim=1, keepdim=True)
        return torch.where(area >= self.areas, self.level_step, 0.0).sum(dim=1)

    def order_of(self, boxes: Tensor, level: Tensor) -> Tensor:
        """An order of boxes [R, 4], int64 [R], by level and then by position.

        Each box reads a small window of every channel, which its neighbours find in the
        processor's cache. On a CPU this order halves the time of RoIAlign; it changes no result.
        """
        tile = torch.floor(boxes[:, :2] * self.per_tile) * self.tile_weights
        return torch.argsort(level + tile.sum(dim=1))

    def align(self, features: Tensor, boxes: Tensor, image_index: Tensor, scale: float) -> Tensor:
        """`roi_align_boxes` with this pool's settings, perhaps as the operator `pedseg::align`."""
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            if self.exports_operator:
                pooled: Tensor = torch.ops.pedseg.align(
                    features, boxes, image_index, scale, self.size, self.sampling_ratio
                )
                return pooled
        return roi_align_boxes(features, boxes, image_index, scale, self.size, self.sampling_ratio)


def level_areas(pool: MultiScaleRoIAlign) -> Tensor:
    """Float32 [levels - 1]: the smallest box area of each coarser level.

    `LevelMapper` takes floor(4 + log2(sqrt(area) / 224) + 1e-6). Comparing areas gives the same
    level without a logarithm, whose last bit differs between libraries.
    """
    mapper = pool.map_levels
    steps = torch.arange(mapper.k_min + 1, mapper.k_max + 1, dtype=torch.float64)
    sides: Tensor = mapper.s0 * torch.exp2(steps - mapper.lvl0 - mapper.eps)
    return (sides * sides).to(torch.float32)
