"""A ResNet of ten layers and half ResNet-18's width, for training from scratch on a CPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import nn
from torchvision.models.resnet import BasicBlock

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
