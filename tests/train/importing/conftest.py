"""The tutorial's own model with a small backbone, built by torchvision alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

SETTINGS = {
    "min_size": 64,
    "max_size": 96,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 10,
}


def build_tutorial(
    num_classes=2,
    *,
    eps=1e-5,
    backbone="resnet18",
    norm=FrozenBatchNorm2d,
    mask_width=256,
    **settings,
):
    """As in torchvision's tutorial; statistics of the norms as after training: some tiny."""
    body = resnet_fpn_backbone(backbone_name=backbone, weights=None, norm_layer=norm)
    model = MaskRCNN(body, num_classes=91, **{**SETTINGS, **settings})
    heads = model.roi_heads
    heads.box_predictor = FastRCNNPredictor(heads.box_predictor.cls_score.in_features, num_classes)
    channels = heads.mask_predictor.conv5_mask.in_channels
    heads.mask_predictor = MaskRCNNPredictor(channels, mask_width, num_classes)
    for name, module in model.named_modules():
        if name.endswith("bn2"):  # random residual branches would add up to scores of 0 and 1
            module.weight.data.mul_(0.1)
        if isinstance(module, (FrozenBatchNorm2d, torch.nn.BatchNorm2d)):
            module.running_var.uniform_(0.75, 1.25)
            if isinstance(module, FrozenBatchNorm2d):
                dead = torch.rand(module.running_var.shape) < 0.05
                # No indexing by `dead`: on the meta device that has no shape.
                module.running_var.masked_fill_(dead, 2e-6)
                module.weight.mul_(torch.where(dead, 0.01, 1.0))
                module.eps = eps
    return model.eval()


@pytest.fixture(scope="session")
def tutorial():
    return build_tutorial


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    return build_tutorial()


@pytest.fixture(scope="session")
def image():
    return np.random.default_rng(3).integers(0, 256, (70, 90, 3), dtype=np.uint8)
