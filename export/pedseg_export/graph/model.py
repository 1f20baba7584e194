"""The complete inference graph: uint8 images in, detections in pixels of these images out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from . import intermediates  # TorchScript reads constants only through their module
from .backbone import Backbone, Preprocessing
from .cuda import CudaBoxStage, CudaMaskStage, CudaPreprocessing, CudaProposalStage
from .heads import BoxStage, MaskStage
from .intermediates import mark_intermediate
from .pasting import FullMasks
from .proposals import ProposalStage
from .sizes import box_limits


class InferenceGraph(nn.Module):
    """From images to detections, as an artifact promises it, around a copy of a model's parts.

    The networks (backbone, RPN head, box and mask head) compute in `dtype`. Pixels, box
    coordinates, RoIAlign, scores and NMS stay float32.
    """

    def __init__(
        self,
        model: MaskRCNN,
        *,
        mask_format: str = "roi",
        dtype: torch.dtype = torch.float32,
        device_target: str = "cpu",
    ) -> None:
        """Copy the submodules of `model`, which is not changed.

        Args:
            model: in eval mode; its settings (sizes, thresholds) become part of the graph.
            mask_format: `roi` for soft masks [D, 28, 28], `full` for masks uint8 [D, H, W].
            dtype: of the networks.
            device_target: `cuda` for the stages of `cuda.py`.
        """
        super().__init__()
        self.dtype = dtype
        on_cuda = device_target == "cuda"
        self.preprocessing = (CudaPreprocessing if on_cuda else Preprocessing)(model.transform)
        # The name is part of the TorchScript format: it is how `stages` finds the backbone.
        self.trunk = Backbone(model.backbone, dtype)
        self.proposals = (CudaProposalStage if on_cuda else ProposalStage)(model, dtype)
        self.boxes = (CudaBoxStage if on_cuda else BoxStage)(model, dtype)
        self.masks = (CudaMaskStage if on_cuda else MaskStage)(model, dtype)
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
        pixels = mark_intermediate(pixels, intermediates.PIXELS)
        limits = box_limits(resized[0], resized[1], images.device)
        features: list[Tensor] = []
        for level, feature in enumerate(self.trunk(pixels.to(self.dtype))):
            features.append(mark_intermediate(feature, f"{intermediates.FEATURES}.{level}"))
        proposals, proposal_scores = self.proposals(
            features, [pixels.shape[2], pixels.shape[3]], limits
        )
        proposals = mark_intermediate(proposals, intermediates.PROPOSAL_BOXES)
        proposal_scores = mark_intermediate(proposal_scores, intermediates.PROPOSAL_SCORES)
        boxes, labels, scores, image_index = self.boxes(
            features, proposals, proposal_scores, limits
        )
        boxes = mark_intermediate(boxes, intermediates.BOXES)
        labels = mark_intermediate(labels, intermediates.LABELS)
        scores = mark_intermediate(scores, intermediates.SCORES)
        image_index = mark_intermediate(image_index, intermediates.IMAGE_INDEX)
        roi_masks = mark_intermediate(
            self.masks(features, boxes, labels, image_index), intermediates.ROI_MASKS
        )
        boxes = boxes * (box_limits(height, width, images.device) / limits)
        if self.paste is not None:
            roi_masks = self.paste(roi_masks, boxes, height, width)
        return boxes, labels, scores, roi_masks, image_index
