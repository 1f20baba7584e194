"""The proposal stage of the inference graph: torchvision's `RegionProposalNetwork` at inference."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from .boxes import clip, decode, large_enough
from .normalisation import folded
from .sizes import int_vector
from .suppression import suppress, suppress_unless


class ProposalStage(nn.Module):
    """Proposals for a batch at once, one NMS per (image, level); the head computes in `dtype`."""

    def __init__(self, model: MaskRCNN, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        rpn = model.rpn
        self.head = folded(rpn.head).to(dtype)
        self.per_level = int(rpn._pre_nms_top_n["testing"])
        self.per_image = int(rpn._post_nms_top_n["testing"])
        self.iou_threshold = float(rpn.nms_thresh)
        self.min_box = float(rpn.min_size)  # pixels
        self.bbox_clip = float(rpn.box_coder.bbox_xform_clip)
        cells = torch.stack([cell.float() for cell in rpn.anchor_generator.cell_anchors])
        self.levels, self.anchors_per_cell = int(cells.shape[0]), int(cells.shape[1])
        self.register_buffer("cells", cells.flatten(0, 1))  # [L * A, 4], centred on the origin
        self.register_buffer("offsets", torch.arange(self.levels)[:, None] * self.anchors_per_cell)
        self.cells: Tensor
        self.offsets: Tensor  # [L, 1]: where a level's cell anchors begin

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
            falling score; an entry with a negative score is no proposal.
        """
        objectness, deltas = self.head(features)
        best: list[Tensor] = []
        indices: list[Tensor] = []
        regressions: list[Tensor] = []
        for level in range(self.levels):
            logit, index = self.best_of_level(objectness[level])
            best.append(logit)
            indices.append(index)
            regressions.append(self.at_anchors(deltas[level], index))
        logits = torch.stack(best, 1).float()  # [N, L, P]
        anchors = self.anchors_at(torch.stack(indices, 1), objectness, padded)
        boxes = decode(anchors, torch.stack(regressions, 1).float(), self.bbox_clip)
        boxes = clip(boxes, limits)  # [N, L, P, 4]
        real = large_enough(boxes, self.min_box) & (logits > -math.inf)
        scores = suppress_unless(real, torch.sigmoid(logits))

        kept = suppress(boxes.flatten(0, 1), scores.flatten(0, 1), self.iou_threshold, -0.5)
        scores, index = kept.reshape(scores.shape[0], -1).topk(self.per_image, dim=1)
        return boxes.flatten(1, 2).gather(1, index.unsqueeze(2).expand(-1, -1, 4)), scores

    def best_of_level(self, objectness: Tensor) -> tuple[Tensor, Tensor]:
        """The best P logits of [N, A, h, w] and their anchor index, both [N, P].

        A level with fewer than P anchors is filled up with logits of -inf, so that P is the same
        for every level and every image size.
        """
        flat = objectness.permute(0, 2, 3, 1).flatten(1)
        flat = nn.functional.pad(flat, [0, self.per_level], value=-math.inf)
        best, index = flat.topk(self.per_level, dim=1)
        return best, torch.where(best > -math.inf, index, 0)

    def at_anchors(self, deltas: Tensor, index: Tensor) -> Tensor:
        """Box regressions [N, P, 4] of the anchors `index` [N, P], from [N, A * 4, h, w]."""
        rows: Tensor = torch.unflatten(deltas, 1, [self.anchors_per_cell, 4])
        rows = rows.permute(0, 3, 4, 1, 2).flatten(1, 3)
        return rows.gather(1, index.unsqueeze(2).expand(-1, -1, 4))

    def anchors_at(self, index: Tensor, levels: list[Tensor], padded: list[int]) -> Tensor:
        """Anchors [N, L, P, 4] by index [N, L, P] alone, as `AnchorGenerator` lays them out.

        Within a level the order is row, column, cell anchor. The stride is `padded // grid`, which
        is no power of two for the pooled level.
        """
        height = int_vector([level.shape[2] for level in levels], index.device).unsqueeze(1)
        width = int_vector([level.shape[3] for level in levels], index.device).unsqueeze(1)
        extent = int_vector(padded, index.device)
        cell = torch.div(index, self.anchors_per_cell, rounding_mode="trunc")
        row = torch.div(cell, width, rounding_mode="trunc")
        x = (cell - row * width) * torch.div(extent[1], width, rounding_mode="trunc")
        y = row * torch.div(extent[0], height, rounding_mode="trunc")
        shape = self.offsets + (index - cell * self.anchors_per_cell)
        return torch.stack([x, y, x, y], dim=3) + self.cells[shape]
