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
        self.extra_rows = self.rows_per_cell - self.anchors_per_cell
        self.no_logit = float(torch.finfo(torch.float32).min)
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
        grid = self.grid_of_slots([list(level.shape[2:]) for level in features], padded, limits)
        slot = torch.minimum(index.unsqueeze(2).clamp(min=0), grid[:, 1:2])
        cell = torch.div(slot, self.anchors_per_cell, rounding_mode="trunc")
        regressions = self.at_anchors(rows, slot + cell * self.extra_rows + grid[:, :1])
        anchors = self.anchors_at(slot, cell, grid)
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

    def grid_of_slots(self, shapes: list[list[int]], padded: list[int], limits: Tensor) -> Tensor:
        """Each slot's level, int64 [S, 5]: first row, last index, width, stride in x and in y.

        The stride is `padded // grid`, as in `AnchorGenerator`; it is no power of two for the
        pooled level. All numbers are copied to the device as one tensor.
        """
        numbers: list[int] = []
        first = 0
        for height, width in shapes:
            last = height * width * self.anchors_per_cell - 1
            numbers += [first, last, width, padded[1] // width, padded[0] // height]
            first += height * width * self.rows_per_cell
        return int_vector(numbers, limits.device).view(-1, 5).index_select(0, self.level)

    def anchors_at(self, index: Tensor, cell: Tensor, grid: Tensor) -> Tensor:
        """Anchors float32 [N, S, 4] by `index` [N, S, 1] within the level: `AnchorGenerator`.

        Within a level the order is row, column, anchor of the cell: `cell` is `index // A`.
        """
        width, strides = grid[:, 2:3], grid[:, 3:]
        row = torch.div(cell, width, rounding_mode="trunc")
        corner = torch.cat([cell - row * width, row], dim=2) * strides
        shape = self.first_cell + (index - cell * self.anchors_per_cell)
        cells = nn.functional.embedding(shape.squeeze(2), self.cells)
        return torch.cat([corner, corner], dim=2) + cells
