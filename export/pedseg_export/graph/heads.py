"""The second stage: proposals -> detections -> soft masks, and the last layers of all heads."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.rpn import RPNHead

from .backbone import folded
from .boxes import clip, decode, large_enough
from .nms import keep_where, nms
from .roi_align import PyramidPooling

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)
COORDINATES = 4


def foreground(layer: Layer, per_class: int) -> Layer:
    """A copy of `layer` without its first `per_class` outputs, those of the background."""
    rest = copy.deepcopy(layer)
    rest.weight = nn.Parameter(layer.weight[per_class:].clone())
    if layer.bias is not None:
        rest.bias = nn.Parameter(layer.bias[per_class:].clone())
    return rest


class AnchorHead(nn.Module):
    """torchvision's `RPNHead` with one convolution for scores and regressions.

    A cell of the grid has A anchors. Its channels are laid out as rows of four: A rows of
    regressions, then the A logits, padded with zeros.

    Attributes:
        anchors: A.
        rows: rows per cell.
    """

    def __init__(self, head: RPNHead, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        plain = folded(head)
        scores, boxes = plain.cls_logits, plain.bbox_pred
        self.anchors = int(scores.out_channels)
        self.rows = self.anchors + -(-self.anchors // COORDINATES)
        self.conv = plain.conv.to(dtype)
        self.predictor = nn.Conv2d(boxes.in_channels, self.rows * COORDINATES, 1, dtype=dtype)
        self.logits = (boxes.out_channels, boxes.out_channels + scores.out_channels)
        unused = self.rows * COORDINATES - boxes.out_channels - scores.out_channels
        with torch.no_grad():
            for name in ("weight", "bias"):
                parts = [getattr(boxes, name), getattr(scores, name)]
                padding = parts[0].new_zeros([unused, *parts[0].shape[1:]])
                getattr(self.predictor, name).copy_(torch.cat([*parts, padding]))

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Scores and regressions of the anchors of every level [N, C, h, w].

        Returns:
            Logits [N, h * w * A] and rows [N, h * w * rows, 4] of each level.
        """
        logits: list[Tensor] = []
        rows: list[Tensor] = []
        for feature in features:
            cells = self.predictor(self.conv(feature)).permute(0, 2, 3, 1)  # [N, h, w, rows * 4]
            logits.append(cells[..., self.logits[0] : self.logits[1]].flatten(1))
            rows.append(cells.reshape(cells.shape[0], -1, 4))
        return logits, rows


class BoxStage(nn.Module):
    """torchvision's box branch of `RoIHeads.forward` and its `postprocess_detections`.

    The head computes in `dtype`; coordinates, scores and decisions on them stay float32.
    """

    def __init__(self, model: MaskRCNN, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        heads = model.roi_heads
        self.dtype = dtype
        self.pool = PyramidPooling(heads.box_roi_pool)
        self.head = folded(heads.box_head).to(dtype)
        self.predictor = folded(heads.box_predictor).to(dtype)
        self.predictor.bbox_pred = foreground(self.predictor.bbox_pred, COORDINATES)
        self.classes = int(self.predictor.bbox_pred.weight.shape[0]) // COORDINATES
        self.min_box = 1e-2  # pixels; fixed in postprocess_detections
        self.score_threshold = float(heads.score_thresh)
        self.iou_threshold = float(heads.nms_thresh)
        self.detections = int(heads.detections_per_img)
        self.bbox_clip = float(heads.box_coder.bbox_xform_clip)
        self.register_buffer("weights", torch.tensor(heads.box_coder.weights))
        self.weights: Tensor

    def forward(
        self, features: list[Tensor], proposals: Tensor, proposal_scores: Tensor, limits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Classify and refine the proposals, then keep the best of each image.

        Args:
            features: the pyramid, each [N, C, h, w].
            proposals: float32 [N, K, 4] in pixels of the resized image.
            proposal_scores: float32 [N, K]; a negative score marks an empty entry.
            limits: float32 [4], width height width height of the resized image.

        Returns:
            boxes float32 [D, 4] in pixels of the resized image, labels int64 [D], scores float32
            [D] and image_index int64 [D], by image, then by descending score.
        """
        # Only real proposals go through the head: of a small image they are a fifth of the entries.
        entry = torch.nonzero(proposal_scores.flatten() >= 0.0).squeeze(1)
        boxes = proposals.flatten(0, 1).index_select(0, entry)
        level = self.pool.level_of(boxes)
        order = self.pool.order_of(boxes, level)
        entry, boxes = entry.index_select(0, order), boxes.index_select(0, order)
        image_index = torch.div(entry, proposal_scores.shape[1], rounding_mode="floor")
        pooled, order = self.pool(features, boxes, image_index, level.index_select(0, order))
        boxes, scores = self.refine(pooled, boxes.index_select(0, order), limits)
        return self.select_detections(boxes, scores, entry.index_select(0, order), proposals)

    def refine(self, pooled: Tensor, boxes: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [R, C, 4] and scores [R, C] of proposals [R, 4], without the background class."""
        logits, deltas = self.predictor(self.head(pooled.to(self.dtype)))
        deltas = deltas.float().unflatten(1, [-1, 4]) / self.weights
        boxes = clip(decode(boxes.unsqueeze(1), deltas, self.bbox_clip), limits)
        scores = torch.softmax(logits.float(), -1)[:, 1:]
        return boxes, keep_where(large_enough(boxes, self.min_box), scores)

    def select_detections(
        self, boxes: Tensor, scores: Tensor, entry: Tensor, proposals: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """NMS per (image, class), then the best of each image; `entry` [R] is image * K + k."""
        per_image, classes = proposals.shape[1], scores.shape[1]
        row_boxes, rows = self.at_entries(boxes, scores, entry, proposals)
        if classes > 1:  # one class needs no transposition
            rows = rows.view(-1, per_image, classes).transpose(1, 2)
            row_boxes = row_boxes.view(-1, per_image, classes, 4).transpose(1, 2)
        row_boxes = row_boxes.reshape(-1, per_image, 4)
        kept = self.suppress(row_boxes, rows.reshape(-1, per_image))
        best, index = kept.reshape(-1, classes * per_image).topk(
            min(self.detections, per_image * classes), dim=1
        )
        found = torch.nonzero(best.flatten() > self.score_threshold).squeeze(1)
        image_index = torch.div(found, best.shape[1], rounding_mode="floor")
        chosen = index.flatten().index_select(0, found)
        labels = torch.div(chosen, per_image, rounding_mode="floor") + 1
        boxes = row_boxes.reshape(-1, 4).index_select(
            0, image_index * (classes * per_image) + chosen
        )
        return boxes, labels, best.flatten().index_select(0, found), image_index

    def at_entries(
        self, boxes: Tensor, scores: Tensor, entry: Tensor, proposals: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes [N * K, C, 4] and scores [N * K, C] by entry, with a score of -1 elsewhere."""
        entries, classes = proposals.shape[0] * proposals.shape[1], scores.shape[1]
        rows = scores.new_full([entries, classes], -1.0).index_put([entry], scores)
        return boxes.new_zeros([entries, classes, 4]).index_put([entry], boxes), rows

    def suppress(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """NMS of boxes [B, K, 4] by scores [B, K], each row on its own."""
        return nms(boxes, scores, self.iou_threshold, self.score_threshold)


class MaskStage(nn.Module):
    """torchvision's mask branch of `RoIHeads.forward`; the head computes in `dtype`."""

    def __init__(self, model: MaskRCNN, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        heads = model.roi_heads
        self.dtype = dtype
        self.pool = PyramidPooling(heads.mask_roi_pool)
        self.head = folded(heads.mask_head).to(dtype)
        self.predictor = folded(heads.mask_predictor).to(dtype)
        self.predictor.mask_fcn_logits = foreground(self.predictor.mask_fcn_logits, 1)
        self.classes = int(self.predictor.mask_fcn_logits.weight.shape[0])

    def forward(
        self, features: list[Tensor], boxes: Tensor, labels: Tensor, image_index: Tensor
    ) -> Tensor:
        """Soft masks float32 [D, 28, 28] of boxes [D, 4] in pixels of the resized image."""
        pooled, order = self.pool(features, boxes, image_index, self.pool.level_of(boxes))
        logits = self.predictor(self.head(pooled.to(self.dtype)))
        if self.classes > 1:
            channel = (labels.index_select(0, order) - 1).view(-1, 1, 1, 1)
            logits = logits.gather(1, channel.expand(-1, 1, logits.shape[2], logits.shape[3]))
        logits = logits.squeeze(1).float()
        masks: Tensor = torch.zeros_like(logits).index_put([order], torch.sigmoid(logits))
        return masks
