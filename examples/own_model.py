"""A model of one's own, as torchvision's tutorial makes it: nothing here knows pedseg.

    python examples/own_model.py model.pth           # trains a few steps, saves the state dict
    pedseg-import model.pth -o imported.safetensors --verify-against examples/own_model.py:build

The images are ellipses on noise and the network is small, so that this takes seconds; with a
dataset and `backbone_name="resnet50"` it is the tutorial. `WEIGHTS` names the file for `build`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

CLASSES = 2
EPS = float(os.environ.get("EPS", "1e-5"))  # of frozen norms: 0 as after weights="DEFAULT"


def get_model_instance_segmentation(num_classes: int) -> MaskRCNN:
    """The tutorial's function, with sizes of its own and without a download."""
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    few = {"rpn_post_nms_top_n_train": 200, "box_batch_size_per_image": 64}
    model = MaskRCNN(backbone, num_classes=91, min_size=128, max_size=192, **few)
    in_features = model.roi_heads.box_predictor.cls_score.in_features
    model.roi_heads.box_predictor = FastRCNNPredictor(in_features, num_classes)
    in_features_mask = model.roi_heads.mask_predictor.conv5_mask.in_channels
    model.roi_heads.mask_predictor = MaskRCNNPredictor(in_features_mask, 256, num_classes)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = EPS
    return model


def build() -> MaskRCNN:
    """The trained model, for `--verify-against`."""
    model = get_model_instance_segmentation(CLASSES)
    model.load_state_dict(torch.load(os.environ.get("WEIGHTS", "model.pth"), weights_only=True))
    return model.eval()


def scene(seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """An image [3, H, W] in 0..1 with two ellipses, and its target as torchvision wants it."""
    random = torch.Generator().manual_seed(seed)
    height, width = (int(side) for side in torch.randint(90, 170, (2,), generator=random))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = 0.3 * torch.rand(3, height, width, generator=random)
    masks = []
    for _ in range(2):
        x, y, a, b = torch.rand(4, generator=random)
        inside = ((columns - (0.2 + 0.6 * x) * width) / (8 + 10 * a)) ** 2 + (
            (rows - (0.3 + 0.4 * y) * height) / (14 + 16 * b)
        ) ** 2 <= 1
        image[:, inside] = 0.5 + 0.5 * torch.rand(3, 1, generator=random)
        masks.append(inside)
    boxes = [
        torch.stack([m.any(0).nonzero().min(), m.any(1).nonzero().min(),
                     m.any(0).nonzero().max() + 1, m.any(1).nonzero().max() + 1])
        for m in masks
    ]  # fmt: skip
    target = {
        "boxes": torch.stack(boxes).float(),
        "labels": torch.ones(2, dtype=torch.int64),
        "masks": torch.stack(masks).to(torch.uint8),
    }
    return image, target


def train(steps: int = 6) -> MaskRCNN:
    """A few steps of the tutorial's loop."""
    torch.manual_seed(0)
    model = get_model_instance_segmentation(CLASSES)
    for name, module in model.named_modules():
        if isinstance(module, FrozenBatchNorm2d):
            # Statistics as a pretrained backbone has them: ordinary ones, and channels that are
            # nearly dead, which the eps matters to.
            dead = torch.rand(module.running_var.shape) < 0.03
            module.running_var.uniform_(0.75, 1.25)[dead] = 2e-6
            module.weight[dead] *= 0.01
            if name.endswith("bn2"):
                module.weight.mul_(0.3)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.005, momentum=0.9, weight_decay=0.0005)
    model.train()
    for step in range(steps):
        images, targets = zip(*(scene(2 * step + k) for k in range(2)), strict=True)
        losses = sum(model(list(images), list(targets)).values())
        optimizer.zero_grad()
        losses.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
    return model.eval()


if __name__ == "__main__":
    torch.save(train().state_dict(), Path(sys.argv[1]))
