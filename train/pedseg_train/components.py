"""Parts of the networks that torchvision does not offer: heads in several sizes, a small trunk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    RPNHead,
    TwoMLPHead,
)
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock

ANCHORS_PER_CELL = 3
BOX_CELLS = 7  # side of the pooled features that the box head sees


def standard_heads(channels: int, num_classes: int) -> dict[str, Any]:  # noqa: ARG001
    """The heads of torchvision's `maskrcnn_resnet50_fpn`: the defaults of `MaskRCNN`."""
    return {"num_classes": num_classes}


def normalised_heads(channels: int, num_classes: int) -> dict[str, Any]:
    """The heads of `maskrcnn_resnet50_fpn_v2`: batch norm, a deeper RPN and box head."""
    return {
        "num_classes": num_classes,
        "rpn_head": RPNHead(channels, ANCHORS_PER_CELL, conv_depth=2),
        "box_head": FastRCNNConvFCHead(
            (channels, BOX_CELLS, BOX_CELLS), [channels] * 4, [1024], norm_layer=nn.BatchNorm2d
        ),
        "mask_head": MaskRCNNHeads(channels, [channels] * 4, 1, norm_layer=nn.BatchNorm2d),
    }


def light_heads(channels: int, num_classes: int, hidden: int = 256) -> dict[str, Any]:
    """A narrower box head, and half the mask convolutions with batch norm: quick to train."""
    return {
        "box_head": TwoMLPHead(channels * BOX_CELLS**2, hidden),
        "box_predictor": FastRCNNPredictor(hidden, num_classes),
        "mask_head": MaskRCNNHeads(channels, [channels] * 2, 1, norm_layer=nn.BatchNorm2d),
        "mask_predictor": MaskRCNNPredictor(channels, channels, num_classes),
    }


def initialise_heads(model: MaskRCNN) -> None:
    """Initialise the box and mask head as Detectron does, where no trained weights are loaded.

    With the default initialisation of linear layers the signal shrinks from layer to layer, and
    untrained predictors start with confident outputs.
    """
    heads = model.roi_heads
    if isinstance(heads.box_head, TwoMLPHead):
        for layer in (heads.box_head.fc6, heads.box_head.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    for layer, deviation in (
        (heads.box_predictor.cls_score, 0.01),
        (heads.box_predictor.bbox_pred, 0.001),
        (heads.mask_predictor.mask_fcn_logits, 0.001),
    ):
        nn.init.normal_(layer.weight, std=deviation)
        nn.init.zeros_(layer.bias)


SMALL_WIDTHS = (32, 64, 128, 256)


def small_resnet(norm_layer: Callable[[int], nn.Module]) -> nn.Sequential:
    """ResNet-18's stem and stages (He et al. 2015) with one block each; names as torchvision's."""
    width = SMALL_WIDTHS[0]
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)),
        ("bn1", norm_layer(width)),
        ("relu", nn.ReLU(inplace=True)),
        ("maxpool", nn.MaxPool2d(3, stride=2, padding=1)),
    ]
    for stage, channels in enumerate(SMALL_WIDTHS):
        stride = 1 if stage == 0 else 2
        shortcut = None
        if channels != width:
            convolution = nn.Conv2d(width, channels, 1, stride, bias=False)
            shortcut = nn.Sequential(convolution, norm_layer(channels))
        block = BasicBlock(width, channels, stride, shortcut, norm_layer=norm_layer)
        layers.append((f"layer{stage + 1}", nn.Sequential(block)))
        width = channels
    trunk = nn.Sequential(OrderedDict(layers))
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return trunk
