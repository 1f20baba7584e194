"""Stages of the inference graph as CUDA runs them best: same answers, other shapes and operators.

What is slow on CUDA is waiting: for the CPU to learn a number (NonMaxSuppression, NonZero), for a
single block of threads (TopK of one long row), and for cuDNN, which plans a convolution anew
whenever the shape of its input changes (microsoft/onnxruntime#23006). So more is computed, at sizes
that do not depend on what is found.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from .backbone import Preprocessing
from .batched_nms import BOX_ROUNDS, PROPOSAL_ROUNDS, matrix_width
from .heads import BoxStage, MaskStage
from .nms import keep_where
from .proposals import ProposalStage

GROUPS = 8  # divides every finest level: its sides are multiples of 8


class CudaPreprocessing(Preprocessing):
    """Casts before it transposes: TensorRT takes uint8 only into a Cast."""

    def channels_first(self, images: Tensor) -> Tensor:
        """Float32 [N, 3, H, W] of uint8 [N, H, W, 3]."""
        return images.to(torch.float32).permute(0, 3, 1, 2)


class CudaProposalStage(ProposalStage):
    """Two-stage TopK for the finest level, and NMS of all levels at once."""

    def best_of_finest(self, objectness: Tensor) -> tuple[Tensor, Tensor]:
        """The best of `GROUPS` parts of logits [N, A], then the best of these.

        onnxruntime selects from a row in one block of 256 threads, in seven passes (RadixTopK in
        its cuda/math/topk_impl.cuh): several shorter rows run side by side. Whatever is among the
        best P is so in its part too, and parts stand in the order of their indices.
        """
        parts = objectness.view(objectness.shape[0], GROUPS, -1)  # [N, G, A / G]
        best, index = self.best_of_level(parts)
        first = torch.arange(GROUPS, device=index.device).unsqueeze(1) * parts.shape[2]
        best, position = best.flatten(1).topk(self.per_level, dim=1)
        # Where padding is chosen, RadixTopK may give positions that nothing set.
        position = position.clamp(min=0, max=GROUPS * self.per_level - 1)
        return best, (index + first).flatten(1).gather(1, position)

    def suppress(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """NMS of boxes [B, P, 4] by scores [B, P], which TopK has sorted."""
        kept: Tensor = torch.ops.pedseg.suppress_batched(
            boxes, scores, self.iou_threshold, self.floor, self.per_level, True, PROPOSAL_ROUNDS
        )
        return kept


class CudaBoxStage(BoxStage):
    """Pools every entry, empty or not, and treats all rows of NMS at once.

    Most images fill nearly all entries, and fixed sizes save a synchronisation and, in heads with
    convolutions, their planning. The order of boxes for a CPU's cache is left out.
    """

    def __init__(self, model: MaskRCNN, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, dtype)
        rpn = model.rpn
        per_level, levels = rpn._pre_nms_top_n["testing"], len(rpn.anchor_generator.cell_anchors)
        self.budget = int(per_level**2 * levels)  # no more than NMS of the proposals compares

    def forward(
        self, features: list[Tensor], proposals: Tensor, proposal_scores: Tensor, limits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `BoxStage.forward`."""
        boxes = proposals.flatten(0, 1)
        entry = torch.arange(boxes.shape[0], device=boxes.device)
        image_index = torch.div(entry, proposals.shape[1], rounding_mode="floor")
        pooled, order = self.pool(features, boxes, image_index, self.pool.level_of(boxes))
        boxes, scores = self.refine(pooled, boxes.index_select(0, order), limits)
        real = proposal_scores.flatten().index_select(0, order) >= 0.0
        scores = keep_where(real.unsqueeze(1), scores)
        return self.select_detections(boxes, scores, order, proposals)

    def at_entries(
        self, boxes: Tensor, scores: Tensor, entry: Tensor, proposals: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Every entry occurs: what the rows hold before does not matter, as long as it exists."""
        before = proposals.flatten(0, 1).unsqueeze(1).expand(-1, self.classes, -1)
        return before.index_put([entry], boxes), before[..., 0].index_put([entry], scores)

    def suppress(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """NMS of boxes [B, K, 4] by scores [B, K], in any order."""
        width = matrix_width(scores.shape[1], self.classes, self.budget)
        kept: Tensor = torch.ops.pedseg.suppress_batched(
            boxes, scores, self.iou_threshold, self.score_threshold, width, False, BOX_ROUNDS
        )
        return kept


class CudaMaskStage(MaskStage):
    """Computes as many masks as there can be, so that its convolutions never change their shape."""

    def __init__(self, model: MaskRCNN, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(model, dtype)
        entries = int(model.rpn._post_nms_top_n["testing"]) * self.classes
        self.per_image = min(int(model.roi_heads.detections_per_img), entries)

    def forward(
        self, features: list[Tensor], boxes: Tensor, labels: Tensor, image_index: Tensor
    ) -> Tensor:
        """Soft masks float32 [D, 28, 28] of boxes [D, 4], as in `MaskStage.forward`."""
        count, most = boxes.shape[0], features[0].shape[0] * self.per_image
        torch._check(count <= most)
        boxes = filled(boxes, most)
        pooled = self.pool_all(features, boxes, filled(image_index, most))
        logits = self.predictor(self.head(pooled.to(self.dtype)))
        if self.classes > 1:
            channel = (filled(labels, most) - 1).clamp(min=0).view(-1, 1, 1, 1)
            logits = logits.gather(1, channel.expand(-1, 1, logits.shape[2], logits.shape[3]))
        return torch.sigmoid(logits.squeeze(1).float()).narrow(0, 0, count)

    def pool_all(self, features: list[Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Pool boxes from every level and choose: few enough, and no level waits for its number."""
        level = self.pool.level_of(boxes).view(-1, 1, 1, 1)
        pooled = self.pool.align(features[0].float(), boxes, image_index, self.pool.scales[0])
        for number, scale in enumerate(self.pool.scales[1:], 1):
            other = self.pool.align(features[number].float(), boxes, image_index, scale)
            pooled = torch.where(level == number * self.pool.level_step, other, pooled)
        return pooled


def filled(rows: Tensor, most: int) -> Tensor:
    """`rows` [D, ...] and zeros, [most, ...]."""
    return torch.cat([rows, rows.new_zeros([most, *rows.shape[1:]])]).narrow(0, 0, most)
