"""The proposal stage of the inference graph: torchvision's `RegionProposalNetwork` at inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from .boxes import clip, decode, large_enough, probability
from .heads import AnchorHead
from .nms import keep_where, nms
from .sizes import int_vector, shortfall


class ProposalStage(nn.Module):
    """Proposals for a batch at once, one NMS per (image, level); the head computes in `dtype`.

    Each image has S = L * P slots: the best P anchors of each of its L levels.
    """

    def __init__(self, model: MaskRCNN, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        rpn = model.rpn
        self.head = AnchorHead(rpn.head, dtype)
        self.per_level = int(rpn._pre_nms_top_n["testing"])
        self.per_image = int(rpn._post_nms_top_n["testing"])
        self.iou_threshold = float(rpn.nms_thresh)
        self.floor = -0.5  # below every probability, above what marks an empty slot
        self.min_box = float(rpn.min_size)  # pixels
        self.bbox_clip = float(rpn.box_coder.bbox_xform_clip)
        cells = torch.stack([cell.float() for cell in rpn.anchor_generator.cell_anchors])
        self.levels, self.anchors_per_cell = int(cells.shape[0]), int(cells.shape[1])
        self.rows_per_cell = self.head.rows
        self.no_logit = float(torch.finfo(torch.float32).min)
        self.exports_operator = False  # set for ONNX, see `size_operator`
        level = torch.arange(self.levels).repeat_interleave(self.per_level)
        self.register_buffer("cells", cells.flatten(0, 1))  # [L * A, 4], centred on the origin
        self.register_buffer("level", level)  # [S]: which level a slot belongs to
        self.register_buffer("first_cell", (level * self.anchors_per_cell)[:, None])  # [S, 1]
        self.cells: Tensor
        self.level: Tensor
        self.first_cell: Tensor

    def forward(
        self, features: list[Tensor], padded: list[int], limits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Propose boxes.

        Args:
            features: the pyramid, each [N, C, h, w].
            padded: height and width of the network's input, in pixels.
            limits: float32 [4], width height width height of the resized image, in pixels.

        Returns:
            boxes float32 [N, K, 4] in pixels of the resized image and scores float32 [N, K], by
            descending score; an entry with a negative score is empty.
        """
        objectness, rows = self.head(features)
        best: list[Tensor] = []
        indices: list[Tensor] = []
        for level in range(self.levels):
            if level == 0:
                logit, index = self.best_of_finest(objectness[level])
            else:
                logit, index = self.best_of_level(objectness[level])
            best.append(logit)
            indices.append(index)
        logits, index = torch.cat(best, 1), torch.cat(indices, 1)  # [N, S]
        grid = self.grid_of_slots(features, padded, limits.device)
        first, last, width, _, strides = torch.split(grid, [1, 1, 1, 1, 2], dim=1)
        index = index.unsqueeze(2)
        shape = torch.remainder(index, self.anchors_per_cell)
        cell = torch.div(index, self.anchors_per_cell, rounding_mode="trunc")
        cell = torch.minimum(cell.clamp(min=0), last)
        regressions = self.at_anchors(rows, cell * self.rows_per_cell + shape + first)
        anchors = self.anchors_at(cell, shape, width, strides)
        boxes = clip(decode(anchors, regressions, self.bbox_clip), limits)  # [N, S, 4]
        real = large_enough(boxes, self.min_box) & (logits > self.no_logit)
        scores = keep_where(real, probability(logits))

        rows = scores.view(-1, self.per_level)
        kept = self.suppress(boxes.view(-1, self.per_level, 4), rows)
        scores, index = kept.view(scores.shape).topk(self.per_image, dim=1)
        return boxes.gather(1, index.unsqueeze(2).expand(-1, -1, 4)), scores

    def suppress(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """NMS of boxes [B, P, 4] by scores [B, P], each row on its own."""
        return nms(boxes, scores, self.iou_threshold, self.floor)

    def best_of_finest(self, objectness: Tensor) -> tuple[Tensor, Tensor]:
        """`best_of_level` of the level with the most anchors."""
        return self.best_of_level(objectness)

    def best_of_level(self, objectness: Tensor) -> tuple[Tensor, Tensor]:
        """The best P of logits [N, h * w * A] and their anchor index, both [N, P].

        A level with fewer than P anchors is padded with the lowest float32, so that P is the same
        for every level and every image size. The indices of these slots mean nothing: on CUDA
        onnxruntime sorts in blocks of 2048, which it fills with the lowest float32 and indices
        that are not set (RadixTopK in its cuda/math/topk_impl.cuh). They come before -inf and may
        come before the padding.
        """
        flat = objectness.float()
        missing = shortfall(flat.shape[-1], self.per_level)
        if missing > 0:
            flat = nn.functional.pad(flat, [0, missing], value=self.no_logit)
        return flat.topk(self.per_level, dim=-1)

    def at_anchors(self, rows: list[Tensor], row: Tensor) -> Tensor:
        """Box regressions float32 [N, S, 4] at `row` [N, S, 1] in the rows of all levels."""
        return torch.cat(rows, 1).gather(1, row.expand(-1, -1, 4)).float()

    def grid_of_slots(
        self, features: list[Tensor], padded: list[int], device: torch.device
    ) -> Tensor:
        """Each slot's level, int64 [S, 6]: first row, last cell, width, height, strides x and y.

        The stride is `padded // grid`, as in `AnchorGenerator`; it is no power of two for the
        pooled level. All is computed on the CPU and copied to the device as one tensor.
        """
        sizes = self.sizes_of(features).flip([1])  # [L, 2], width and height
        network = int_vector([padded[1], padded[0]], sizes.device)
        strides = torch.div(network, sizes, rounding_mode="floor")
        cells = sizes.prod(dim=1, keepdim=True)
        first = (cells.cumsum(0) - cells) * self.rows_per_cell
        numbers = torch.cat([first, cells - 1, sizes, strides], dim=1).to(device)
        return numbers.index_select(0, self.level)

    def sizes_of(self, features: list[Tensor]) -> Tensor:
        """Height and width of the levels, int64 [L, 2] on the CPU; see `size_operator`."""
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            if self.exports_operator and isinstance(features[0].shape[2], torch.SymInt):
                sizes = [torch.ops.pedseg.size_of(level) for level in features]
                return torch.cat(sizes).view(-1, 2)
        numbers: list[int] = []
        for level in features:
            numbers += [level.shape[2], level.shape[3]]
        return int_vector(numbers, torch.device("cpu")).view(-1, 2)

    def anchors_at(self, cell: Tensor, shape: Tensor, width: Tensor, strides: Tensor) -> Tensor:
        """Anchors float32 [N, S, 4]: `AnchorGenerator`.

        Within a level the order is row, column, anchor of the cell.

        Args:
            cell: int64 [N, S, 1], within the level.
            shape: int64 [N, S, 1], which anchor of the cell.
            width: int64 [S, 1], cells in a row of the level.
            strides: int64 [S, 2], pixels of a cell in x and in y.
        """
        row = torch.div(cell, width, rounding_mode="trunc")
        corner = torch.cat([torch.remainder(cell, width), row], dim=2) * strides
        shapes = nn.functional.embedding((self.first_cell + shape).squeeze(2), self.cells)
        return torch.cat([corner, corner], dim=2) + shapes
