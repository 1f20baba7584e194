"""The whole graph in order: uint8 pixels in, detections in the same pixels out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from . import taps
from .heads import BoxStage, MaskStage
from .pasting import FullMasks
from .preprocessing import Preprocessing
from .proposals import ProposalStage
from .sizes import box_limits
from .taps import tap
from .trunk import Trunk


class InferenceGraph(nn.Module):
    """From images to detections, as an artifact promises it, around a copy of a model's parts.

    With a `dtype` other than float32 the networks (trunk, RPN head, box and mask head) compute in
    it. Pixels, box coordinates, RoIAlign, scores, NMS and what they decide stay float32.
    """

    def __init__(
        self, model: MaskRCNN, *, mask_format: str = "roi", dtype: torch.dtype = torch.float32
    ) -> None:
        """Take the parts of `model`, which stays as it is.

        Args:
            model: in eval mode; its settings (sizes, thresholds) become part of the graph.
            mask_format: `roi` for soft masks [D, 28, 28], `full` for masks uint8 [D, H, W].
            dtype: of the networks.
        """
        super().__init__()
        self.dtype = dtype
        self.preprocessing = Preprocessing(model.transform)
        self.trunk = Trunk(model.backbone, dtype)
        self.proposals = ProposalStage(model, dtype)
        self.boxes = BoxStage(model, dtype)
        self.masks = MaskStage(model, dtype)
        self.paste = FullMasks() if mask_format == "full" else None
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Segment uint8 images [N, H, W, 3] in RGB.

        Returns:
            boxes float32 [D, 4] x1 y1 x2 y2 in pixels of the images, labels int64 [D], scores
            float32 [D], masks float32 [D, 28, 28] or uint8 [D, H, W], image_index int64 [D].
        """
        height, width = images.shape[1], images.shape[2]
        pixels, resized = self.preprocessing(images)
        pixels = tap(pixels, taps.PIXELS)
        limits = box_limits(resized[0], resized[1], images.device)
        features: list[Tensor] = []
        for level, feature in enumerate(self.trunk(pixels.to(self.dtype))):
            features.append(tap(feature, f"{taps.FEATURES}.{level}"))
        proposals, proposal_scores = self.proposals(
            features, [pixels.shape[2], pixels.shape[3]], limits
        )
        proposals = tap(proposals, taps.PROPOSAL_BOXES)
        proposal_scores = tap(proposal_scores, taps.PROPOSAL_SCORES)
        boxes, labels, scores, image_index = self.boxes(
            features, proposals, proposal_scores, limits
        )
        boxes, labels = tap(boxes, taps.BOXES), tap(labels, taps.LABELS)
        scores, image_index = tap(scores, taps.SCORES), tap(image_index, taps.IMAGE_INDEX)
        roi_masks = tap(self.masks(features, boxes, labels, image_index), taps.ROI_MASKS)
        boxes = boxes * (box_limits(height, width, images.device) / limits)
        if self.paste is not None:
            roi_masks = self.paste(roi_masks, boxes, height, width)
        return boxes, labels, scores, roi_masks, image_index
