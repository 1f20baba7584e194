"""What a state dict is, if it is no network that pedseg knows: told by the names in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ..architectures import ARCHITECTURES

Shapes = Mapping[str, tuple[int, ...]]

_BODY = "backbone.body."
_LATERAL = "backbone.fpn.inner_blocks."
_BLOCK = re.compile(r"^backbone\.body\.layer(\d)\.(\d+)\.")
# Blocks per stage, convolutions per block -> torchvision's name.
_RESNETS: dict[tuple[tuple[int, ...], int], str] = {
    ((2, 2, 2, 2), 2): "ResNet-18",
    ((3, 4, 6, 3), 2): "ResNet-34",
    ((3, 4, 6, 3), 3): "ResNet-50",
    ((3, 4, 23, 3), 3): "ResNet-101",
    ((3, 8, 36, 3), 3): "ResNet-152",
}
# Shape of the first 3x3 convolution of the first stage -> relatives of the same depth.
_RELATIVES: dict[tuple[int, ...], str] = {
    (128, 4, 3, 3): "ResNeXt (4 channels per group)",
    (256, 8, 3, 3): "ResNeXt (8 channels per group)",
    (128, 128, 3, 3): "Wide ResNet",
}


def explain(shapes: Shapes) -> str:
    """What these tensors seem to be, as a clause with what to do about it.

    Args:
        shapes: of all tensors by name.
    """
    for seems, meaning in _FAMILIES:
        if seems(shapes):
            return meaning
    if "roi_heads.box_predictor.cls_score.weight" in shapes:
        return _detector(shapes)
    first = ", ".join(list(shapes)[:3])
    return (
        f"{len(shapes)} tensors of another network (first {first}); only torchvision's Mask R-CNN "
        "can be imported"
    )


def _has(*parts: str) -> Callable[[Shapes], bool]:
    """Whether every one of these is a part of some name."""
    return lambda shapes: all(any(part in f".{name}" for name in shapes) for part in parts)


_OTHER = "only torchvision's Mask R-CNN can be imported"
_FAMILIES: tuple[tuple[Callable[[Shapes], bool], str], ...] = (
    (
        _has(".backbone.bottom_up."),
        "Detectron2's names (backbone.bottom_up, proposal_generator); its networks compute "
        "differently (padding, box coding, RoIAlign), retrain with pedseg-train",
    ),
    (
        _has(".backbone.body.stem."),
        "maskrcnn-benchmark's names (backbone.body.stem); its networks compute differently, "
        "retrain with pedseg-train",
    ),
    (
        _has(".bbox_head."),
        "MMDetection's names (bbox_head); its networks compute differently, retrain with "
        "pedseg-train",
    ),
    (
        _has(".roi_heads.keypoint_predictor."),
        f"torchvision's Keypoint R-CNN, which has key points instead of masks; {_OTHER}",
    ),
    (
        _has(".head.regression_head.bbox_ctrness."),
        f"torchvision's FCOS, which has no masks; {_OTHER}",
    ),
    (
        _has(".head.classification_head.module_list."),
        f"torchvision's SSD, which has no masks; {_OTHER}",
    ),
    (
        _has(".head.classification_head.", ".head.regression_head."),
        f"torchvision's RetinaNet, which has no masks; {_OTHER}",
    ),
    (
        _has(".backbone.", ".classifier."),
        f"a semantic segmenter of torchvision's (DeepLab, FCN or LR-ASPP), which has no "
        f"instances; {_OTHER}",
    ),
    (_has(".class_embed.", ".bbox_embed."), f"a DETR; {_OTHER}"),
    (_has(".transformer_module."), f"a MaskFormer or Mask2Former; {_OTHER}"),
    (_has(".image_encoder.", ".mask_decoder."), f"a Segment Anything model; {_OTHER}"),
    (
        lambda shapes: any(re.match(r"(model\.)?\d+\.(conv|cv1)\.", name) for name in shapes),
        f"names like those of a YOLO; {_OTHER}",
    ),
    (
        lambda shapes: (
            _has(".layer1.0.conv1.", ".layer4.0.conv1.")(shapes) and not _has(".roi_heads.")(shapes)
        ),
        "the weights of a backbone without a detector; start a training from them: pedseg-train "
        "--weights FILE",
    ),
    (
        lambda shapes: (
            _has(".features.0.0.", ".features.18.0.")(shapes) and not _has(".roi_heads.")(shapes)
        ),
        "the weights of a backbone without a detector; start a training from them: pedseg-train "
        "--weights FILE",
    ),
    (
        lambda shapes: (
            _has(".roi_heads.box_predictor.")(shapes)
            and not _has(".roi_heads.mask_predictor.")(shapes)
        ),
        "torchvision's Faster R-CNN, which has no mask head; train a Mask R-CNN with pedseg-train",
    ),
)


def _detector(shapes: Shapes) -> str:
    """What sets a Mask R-CNN of torchvision's apart from those of the registry."""
    known = ", ".join(name.removeprefix("maskrcnn_") for name in ARCHITECTURES)
    if not any(name.endswith(("running_var", "bn1.weight")) for name in shapes):
        return (
            "a Mask R-CNN without the norms of its backbone, as when parameters are saved without "
            "buffers; save model.state_dict()"
        )
    what = f"a Mask R-CNN with {_backbone(shapes)}"
    anchors = shapes.get("rpn.head.cls_logits.weight", (3,))[0]
    if anchors != 3:
        return (
            f"{what} and {anchors} anchors per position instead of 3; retrain it with "
            "pedseg-train, which has one size per level (--anchor-sizes) and three ratios"
        )
    levels = {name.split(".")[3] for name in shapes if name.startswith(_LATERAL)}
    if len(levels) != 4:
        return f"{what} and a pyramid of {len(levels)} levels instead of 4; pedseg knows {known}"
    return f"{what}; pedseg knows {known}"


def _backbone(shapes: Shapes) -> str:
    """The backbone, as well as its names and shapes tell."""
    blocks: dict[int, set[int]] = {}
    for name in shapes:
        match = _BLOCK.match(name)
        if match:
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    if blocks:
        counts = tuple(len(blocks[stage]) for stage in sorted(blocks))
        convolutions = 3 if f"{_BODY}layer1.0.conv3.weight" in shapes else 2
        relative = _RELATIVES.get(shapes.get(f"{_BODY}layer1.0.conv2.weight", ()))
        resnet = _RESNETS.get((counts, convolutions))
        if relative is not None:
            return f"a {relative} backbone of {sum(counts)} blocks"
        return (
            f"a {resnet} backbone"
            if resnet
            else f"a residual backbone of {counts} blocks per stage"
        )
    if any(name.startswith(f"{_BODY}0.0.") for name in shapes):
        kind = "MobileNetV3" if any(".fc1." in name for name in shapes) else "MobileNet"
        return f"a {kind} backbone"
    first = next((name for name in shapes if name.startswith("backbone.")), "none")
    return f"a backbone of another kind (first tensor {first})"
