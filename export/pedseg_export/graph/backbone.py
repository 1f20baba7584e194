"""From the client's pixels to the feature pyramid.

torchvision's `GeneralizedRCNNTransform` and `BackboneWithFPN`, with batch norm as part of the
convolution before it, or as a constant scale and shift.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from .sizes import network_size


class Preprocessing(nn.Module):
    """Normalise, resize and pad a batch of equally sized images."""

    def __init__(self, transform: GeneralizedRCNNTransform) -> None:
        super().__init__()
        self.block = int(transform.size_divisible)
        self.register_buffer("mean", torch.tensor(transform.image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(transform.image_std).view(1, 3, 1, 1))
        self.min_size = int(transform.min_size[-1])
        self.max_size = int(transform.max_size)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, list[int]]:
        """Prepare uint8 images [N, H, W, 3], RGB.

        Returns:
            The network's input float32 [N, 3, h', w'], both sides multiples of 32 and zero beyond
            the resized image; height and width of the resized image.
        """
        resized, padded = network_size(
            images.shape[1], images.shape[2], self.min_size, self.max_size, self.block
        )
        pixels = self.channels_first(images) / 255.0
        pixels = (pixels - self.mean) / self.std
        pixels = nn.functional.interpolate(
            pixels, size=resized, mode="bilinear", align_corners=False
        )
        below, right = padded[0] - resized[0], padded[1] - resized[1]
        return nn.functional.pad(pixels, [0, right, 0, below]), resized

    def channels_first(self, images: Tensor) -> Tensor:
        """Float32 [N, 3, H, W] of uint8 [N, H, W, 3]."""
        return images.permute(0, 3, 1, 2).to(torch.float32)


Module = TypeVar("Module", bound=nn.Module)
NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def folded(module: Module) -> Module:
    """A copy of `module` in eval mode without batch norm.

    Every norm that directly follows a convolution is folded into its weights. The few others become
    `FrozenBatchNorm2d`: torch's own batch norm asks whether its input is empty, which an exporter
    cannot answer for the rows of a head.
    """
    copied = copy.deepcopy(module).eval()
    if not any(isinstance(part, NORMS) for part in copied.modules()):
        return copied
    for convolution, norm in list(_adjacent(copied)):
        parts: tuple[Any, Any] = copied.get_submodule(convolution), copied.get_submodule(norm)
        _put(copied, convolution, fuse_conv_bn_eval(*parts))
        _put(copied, norm, nn.Identity())
    for name, part in list(copied.named_modules()):
        if isinstance(part, nn.BatchNorm2d):
            _put(copied, name, _constants_of(part))
    return copied


class _Tracer(fx.Tracer):
    """Follows the data through a module, and takes norms of torchvision for leaves too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, NORMS) or super().is_leaf_module(m, module_qualified_name)


def _adjacent(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of a convolution and the norm that alone reads its output."""
    for node in _Tracer().trace(module).nodes:
        if node.op == "call_module" and isinstance(module.get_submodule(node.target), NORMS):
            source: Any = node.args[0]
            if (
                source.op == "call_module"
                and len(source.users) == 1
                and isinstance(module.get_submodule(source.target), nn.Conv2d)
            ):
                yield source.target, node.target


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, part)


def _constants_of(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    constants = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
    buffers = dict(constants.named_buffers())
    saved = norm.state_dict()
    constants.load_state_dict({name: saved[name] for name in buffers})
    return constants


class Backbone(nn.Module):
    """torchvision's `BackboneWithFPN`, with batch norm folded."""

    def __init__(self, backbone: BackboneWithFPN, dtype: torch.dtype = torch.float32) -> None:
        """Copy the submodules of a trained backbone, which is not changed.

        Raises:
            ValueError: the top of the pyramid is not `LastLevelMaxPool`.
        """
        super().__init__()
        if not isinstance(backbone.fpn.extra_blocks, LastLevelMaxPool):
            raise ValueError(
                f"expected a pyramid topped by LastLevelMaxPool, found {backbone.fpn.extra_blocks}"
            )
        plain = folded(backbone).to(dtype)
        self.body = plain.body
        self.lateral = plain.fpn.inner_blocks
        self.output = plain.fpn.layer_blocks

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The pyramid of `pixels` [N, 3, h, w], finest level first, each [N, C, h', w'].

        torchvision enlarges a level to the size of the next finer one. Both sides of the input
        are multiples of the coarsest stride, so that the factor is always 2. With a constant factor
        onnxruntime keeps its own layout and fuses the addition into the convolution.
        """
        stages = list(self.body(pixels).values())
        merged: list[Tensor] = []
        for index, lateral in enumerate(self.lateral):
            merged.append(lateral(stages[index]))
        for level in range(len(merged) - 1, 0, -1):
            doubled = nn.functional.interpolate(merged[level], scale_factor=2.0, mode="nearest")
            merged[level - 1] = merged[level - 1] + doubled
        pyramid: list[Tensor] = []
        for index, output in enumerate(self.output):
            pyramid.append(output(merged[index]))
        pyramid.append(nn.functional.max_pool2d(pyramid[-1], kernel_size=1, stride=2))
        return pyramid
