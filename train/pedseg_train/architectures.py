"""The registry of architectures, and building the untrained network of an entry.

Every architecture is torchvision's `MaskRCNN` over a four-level feature pyramid with strides 4, 8,
16 and 32. Where torchvision has a builder of the same name, the state dict has the same keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torchvision
from torch import nn
from torchvision.models.detection import (
    MaskRCNN,
    MaskRCNN_ResNet50_FPN_V2_Weights,
    MaskRCNN_ResNet50_FPN_Weights,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.poolers import initLevelMapper

from pedseg_runtime.errors import InputError

from .components import SMALL_WIDTHS, light_heads, normalised_heads, small_resnet, standard_heads

PYRAMID_STRIDES = (4, 8, 16, 32)
ANCHOR_SIZES = (32, 64, 128, 256, 512)
NORM_KINDS = ("frozen_batch_norm", "batch_norm", "group_norm")


@dataclass(frozen=True, slots=True)
class Norm:
    """The normalisation of a backbone.

    Attributes:
        kind: one of `NORM_KINDS`. `frozen_batch_norm` keeps pretrained statistics as constants.
        eps: the number under the square root. torchvision's COCO weights of
            `maskrcnn_resnet50_fpn` want 0.0, everything else 1e-5.
    """

    kind: str
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.kind not in NORM_KINDS:
            raise InputError(f"norm: expected one of {', '.join(NORM_KINDS)}, found {self.kind!r}")

    def layer(self, channels: int) -> nn.Module:
        """A new normalisation layer for `channels` feature maps."""
        if self.kind == "frozen_batch_norm":
            frozen: nn.Module = FrozenBatchNorm2d(channels, eps=self.eps)
            return frozen
        if self.kind == "batch_norm":
            return nn.BatchNorm2d(channels, eps=self.eps)
        # 32 groups is the usual choice; some MobileNet widths are not divisible by 32.
        return nn.GroupNorm(math.gcd(32, channels), channels, eps=self.eps)


FROZEN = Norm("frozen_batch_norm")
BATCH_NORM = Norm("batch_norm")


@dataclass(frozen=True, slots=True)
class Architecture:
    """One entry of the registry.

    Attributes:
        name: registry name; torchvision's own where torchvision has it.
        description: one line for help texts.
        body: makes the classification network's trunk from a normalisation-layer factory.
        stages: (module name, channels) of the four stages that feed the pyramid, finest first.
        stem: module names that stay frozen when fine-tuning, as in torchvision's builders.
        backbone_weights: torchvision's ImageNet weights for the body, None if there are none.
        detection_weights: torchvision's COCO weights for the whole network, None if there are none.
        heads: makes the arguments of `MaskRCNN` that describe its RPN and heads.
        pyramid_channels: feature maps per level of the pyramid.
        anchor_ratios: height / width of the anchors at every position.
        normalised: the pyramid has batch norm, as torchvision's `_v2`; the backbone's batch norm
            is then trained too.
        scratch_norm: the normalisation for random weights, see `Norm.kind`. Frozen batch norm
            without statistics does nothing; group norm works with small batches.
    """

    name: str
    description: str
    body: Callable[[Callable[[int], nn.Module]], nn.Module]
    stages: tuple[tuple[str, int], ...]
    stem: tuple[str, ...]
    backbone_weights: Any = None
    detection_weights: Any = None
    heads: Callable[[int, int], dict[str, nn.Module]] = standard_heads
    pyramid_channels: int = 256
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    normalised: bool = False
    scratch_norm: str = "group_norm"


def _resnet50(norm_layer: Callable[[int], nn.Module]) -> nn.Module:
    return torchvision.models.resnet50(weights=None, norm_layer=norm_layer)  # type: ignore[no-any-return]


def _resnet18(norm_layer: Callable[[int], nn.Module]) -> nn.Module:
    return torchvision.models.resnet18(weights=None, norm_layer=norm_layer)  # type: ignore[no-any-return]


def _mobilenet_v2(norm_layer: Callable[[int], nn.Module]) -> nn.Module:
    return torchvision.models.mobilenet_v2(weights=None, norm_layer=norm_layer).features  # type: ignore[no-any-return]


_RESNET50_STAGES = (("layer1", 256), ("layer2", 512), ("layer3", 1024), ("layer4", 2048))
_RESNET18_STAGES = (("layer1", 64), ("layer2", 128), ("layer3", 256), ("layer4", 512))
_RESNET_STEM = ("conv1", "bn1", "layer1")

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        architecture.name: architecture
        for architecture in (
            Architecture(
                name="maskrcnn_resnet50_fpn",
                description="torchvision's Mask R-CNN, the tutorial's model",
                body=_resnet50,
                stages=_RESNET50_STAGES,
                stem=_RESNET_STEM,
                backbone_weights=torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
                detection_weights=MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
            ),
            Architecture(
                name="maskrcnn_resnet50_fpn_v2",
                description="torchvision's improved Mask R-CNN: more accurate, slower",
                body=_resnet50,
                stages=_RESNET50_STAGES,
                stem=_RESNET_STEM,
                backbone_weights=torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
                detection_weights=MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
                heads=normalised_heads,
                normalised=True,
                scratch_norm="batch_norm",
            ),
            Architecture(
                name="maskrcnn_resnet18_fpn",
                description="a smaller backbone, no COCO weights",
                body=_resnet18,
                stages=_RESNET18_STAGES,
                stem=_RESNET_STEM,
                backbone_weights=torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
            ),
            Architecture(
                name="maskrcnn_mobilenet_v2_fpn",
                description="the fastest backbone on a CPU, no COCO weights",
                body=_mobilenet_v2,
                stages=(("3", 24), ("6", 32), ("13", 96), ("18", 1280)),
                stem=("0", "1", "2", "3"),
                backbone_weights=torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1,
            ),
            Architecture(
                name="maskrcnn_resnet10_fpn_lite",
                description="learns generated scenes from scratch within minutes; no weights",
                body=small_resnet,
                stages=tuple((f"layer{k + 1}", width) for k, width in enumerate(SMALL_WIDTHS)),
                stem=(),
                heads=light_heads,
                pyramid_channels=64,
                anchor_ratios=(1.0, 2.0, 4.0),
                normalised=True,
                scratch_norm="batch_norm",
            ),
        )
    }
)


def assemble(
    architecture: Architecture,
    *,
    num_classes: int,
    norm: Norm,
    min_size: int = 800,
    max_size: int = 1333,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
    anchor_sizes: tuple[int, ...] = ANCHOR_SIZES,
    box_batch: int = 512,
    proposals: int = 2000,
    mask_width: int | None = None,
) -> MaskRCNN:
    """Build the untrained network, in train mode on the CPU.

    Args:
        architecture: an entry of `ARCHITECTURES`.
        num_classes: number of labels, background included.
        norm: normalisation of the backbone; that of the heads is the architecture's.
        min_size: target of the shorter image side in pixels, torchvision's resize rule.
        max_size: limit of the longer image side in pixels.
        score_threshold: detections with a lower score are dropped.
        nms_threshold: IoU above which the lower-scoring box of a class is dropped.
        detections_per_image: at most so many detections are kept.
        anchor_sizes: anchor side in resized pixels per pyramid level; five of them.
        box_batch: boxes per image that the box head sees in training.
        proposals: region proposals per image in training, before and after NMS.
        mask_width: hidden channels of the mask predictor; None has the architecture's own.
    """
    if not 0 < min_size <= max_size:
        raise InputError(f"expected 0 < min_size <= max_size, found {min_size} and {max_size}")
    if len(anchor_sizes) != len(PYRAMID_STRIDES) + 1:
        raise InputError(
            f"anchor_sizes: expected one per pyramid level (5), found {len(anchor_sizes)}"
        )
    backbone = BackboneWithFPN(
        architecture.body(norm.layer),
        return_layers={name: str(level) for level, (name, _) in enumerate(architecture.stages)},
        in_channels_list=[channels for _, channels in architecture.stages],
        out_channels=architecture.pyramid_channels,
        norm_layer=nn.BatchNorm2d if architecture.normalised else None,
    )
    model = MaskRCNN(
        backbone,
        min_size=min_size,
        max_size=max_size,
        rpn_anchor_generator=AnchorGenerator(
            tuple((size,) for size in anchor_sizes),
            (architecture.anchor_ratios,) * len(anchor_sizes),
        ),
        rpn_pre_nms_top_n_train=proposals,
        rpn_post_nms_top_n_train=proposals,
        box_score_thresh=score_threshold,
        box_nms_thresh=nms_threshold,
        box_detections_per_img=detections_per_image,
        box_batch_size_per_image=box_batch,
        **architecture.heads(architecture.pyramid_channels, num_classes),
    )
    predictor = model.roi_heads.mask_predictor.conv5_mask
    if mask_width not in (None, predictor.out_channels):
        model.roi_heads.mask_predictor = MaskRCNNPredictor(
            predictor.in_channels, mask_width, num_classes
        )
    _fix_pyramid_levels(model)
    return model


def norm_of(model: MaskRCNN) -> Norm:
    """The normalisation that a model's backbone was built with."""
    kinds = {
        FrozenBatchNorm2d: "frozen_batch_norm",
        nn.BatchNorm2d: "batch_norm",
        nn.GroupNorm: "group_norm",
    }
    for module in model.backbone.body.modules():
        for kind, name in kinds.items():
            if isinstance(module, kind):  # training folds frozen norms into a kind of their own
                return Norm(name, module.eps)
    raise InputError("model: expected a backbone with normalisation layers, found none")


def anchor_sizes_of(model: MaskRCNN) -> tuple[int, ...]:
    """The anchor side in resized pixels per pyramid level that a model was built with."""
    return tuple(sizes[0] for sizes in model.rpn.anchor_generator.sizes)


def freeze_stem(model: MaskRCNN, architecture: Architecture) -> None:
    """Exclude the first stages from training, as torchvision's builders do with trained weights."""
    for name in architecture.stem:
        model.backbone.body[name].requires_grad_(False)


def _fix_pyramid_levels(model: MaskRCNN) -> None:
    """Set the RoI poolers' scales instead of having them inferred.

    `MultiScaleRoIAlign` infers the scale of each level from the shape of the FIRST image and keeps
    it. For a tiny or very long first image (whose coarse grids are rounded up to one cell) the
    inferred scale is wrong, and every later image is pooled from the wrong places.
    """
    levels = [int(math.log2(stride)) for stride in PYRAMID_STRIDES]
    for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
        pool.scales = [1 / stride for stride in PYRAMID_STRIDES]
        pool.map_levels = initLevelMapper(
            levels[0], levels[-1], pool.canonical_scale, pool.canonical_level
        )
