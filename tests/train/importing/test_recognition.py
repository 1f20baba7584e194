"""Networks are told by names and shapes alone, and whatever is almost one is refused by name."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone

from pedseg_runtime.errors import CheckpointError, InputError
from pedseg_train.architectures import ARCHITECTURES, NORM_KINDS, Norm, assemble
from pedseg_train.importing import recognise


def on_meta(build, *arguments, **keywords):
    """The state dict of a model without memory: only names and shapes are looked at."""
    with torch.device("meta"):
        return dict(build(*arguments, **keywords).state_dict())


def found(tensors, **options):
    return recognise(tensors, "model.pth", **options)[0]


@pytest.mark.parametrize("name", [*ARCHITECTURES])
@pytest.mark.parametrize("kind", [kind for kind in NORM_KINDS if kind != "group_norm"])
def test_every_architecture_is_recognised_with_classes_norm_and_mask_width(name, kind):
    tensors = on_meta(assemble, ARCHITECTURES[name], num_classes=4, norm=Norm(kind), mask_width=96)
    network = found(tensors)
    assert (network.architecture, network.num_classes) == (name, 4)
    assert (network.norm, network.mask_width) == (kind, 96)


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_torchvisions_builders_are_recognised(name):
    tensors = on_meta(getattr(detection, name), weights=None, weights_backbone=None)
    network = found(tensors)
    assert (network.architecture, network.num_classes) == (name, 91)
    assert network.norm == "batch_norm"


def test_counters_of_norms_may_be_missing(tutorial):
    tensors = on_meta(tutorial, norm=nn.BatchNorm2d)
    bare = {n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}
    assert found(tensors).norm == "batch_norm"
    assert found(bare).norm == "frozen_batch_norm"  # the same in inference
    assert found(bare, norm="batch_norm").norm == "batch_norm"


def test_group_norm_is_never_guessed(tutorial):
    """Batch norm whose statistics were not saved has the same names."""
    group = on_meta(tutorial, norm=lambda channels: nn.GroupNorm(32, channels))
    with pytest.raises(CheckpointError, match=r"running statistics .* --norm group_norm"):
        found(group)
    assert found(group, norm="group_norm").norm == "group_norm"


def test_masks_of_classes_without_boxes_are_left_out(tutorial):
    """The box predictor was replaced for one's classes, the mask predictor was forgotten."""
    torch.manual_seed(0)
    tensors = on_meta(tutorial)
    name = "roi_heads.mask_predictor.mask_fcn_logits."
    for part in ("weight", "bias"):
        shape = (91, *tensors[name + part].shape[1:])
        tensors[name + part] = torch.rand(shape)
    network, kept, notes = recognise(tensors, "model.pth")
    assert network.num_classes == 2
    assert torch.equal(kept[name + "weight"], tensors[name + "weight"][:2])
    assert "masks of 89 labels" in notes[0]


def without_parts(*parts):
    def build(tensors):
        return {n: t for n, t in tensors.items() if not any(part in n for part in parts)}

    return build


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): t for name, t in tensors.items()}


def with_mask_rows(rows):
    def build(tensors):
        name = "roi_heads.mask_predictor.mask_fcn_logits.weight"
        return {**tensors, name: tensors[name][:rows]}

    return build


def with_extra(tensors):
    return {**tensors, "neck.0.weight": torch.zeros(1), "neck.0.bias": torch.zeros(1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_parts("mask_"), r"Faster R-CNN, which has no mask head"),
        (without_parts(".bn", "downsample.1"), r"without the norms .* save model.state_dict\(\)"),
        (without_parts("roi_heads.", "rpn.", "fpn."), "a backbone without a detector"),
        (without_parts("rpn."), r"nearest, maskrcnn_resnet18_fpn, 6 missing \(first rpn.head"),
        (without_parts("fpn."), "pyramid of 0 levels instead of 4"),
        (with_extra, r"2 unknown \(first neck.0.weight, neck.0.bias\)"),
        (with_mask_rows(1), "found 1; a box of label 1 or more"),
        (renamed("backbone.body.", "backbone.bottom_up."), "Detectron2's names"),
        (renamed("backbone.body.conv1", "backbone.body.stem.conv1"), "maskrcnn-benchmark's"),
    ],
)
def test_almost_a_network_is_refused_by_name(tutorial, change, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        found(change(on_meta(tutorial)))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("model.pth: expected")


def pyramid_of_three():
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, returned_layers=[1, 2, 3]
    )
    return detection.MaskRCNN(backbone, 2)


def more_anchors():
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    anchors = AnchorGenerator(((16, 32),) * 5, ((0.5, 1.0, 2.0),) * 5)
    return detection.MaskRCNN(backbone, 2, rpn_anchor_generator=anchors)


def mobilenet():
    backbone = mobilenet_backbone(backbone_name="mobilenet_v3_large", weights=None, fpn=True)
    return detection.MaskRCNN(backbone, 2)


OFFLINE = {"weights": None, "weights_backbone": None}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: detection.retinanet_resnet50_fpn(**OFFLINE), "RetinaNet"),
        (lambda: detection.fcos_resnet50_fpn(**OFFLINE), "FCOS"),
        (lambda: detection.ssdlite320_mobilenet_v3_large(**OFFLINE), "SSD"),
        (lambda: detection.keypointrcnn_resnet50_fpn(**OFFLINE), "Keypoint R-CNN"),
        (lambda: detection.fasterrcnn_resnet50_fpn(**OFFLINE), "no mask head"),
        (
            lambda: torchvision.models.segmentation.deeplabv3_resnet50(**OFFLINE, aux_loss=True),
            "semantic segmenter",
        ),
        (torchvision.models.resnet50, "a backbone without a detector"),
        (torchvision.models.mobilenet_v2, "a backbone without a detector"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), r"2 tensors of another network \(first 0.weight"),
        (pyramid_of_three, "a pyramid of 3 levels instead of 4"),
        (more_anchors, "6 anchors per position instead of 3"),
        (mobilenet, "a MobileNetV3 backbone and a pyramid of 2"),
    ],
)
def test_other_networks_are_called_by_their_names(build, message):
    with pytest.raises(CheckpointError, match=message):
        found(on_meta(build))


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("resnet34", "ResNet-34"),
        ("resnet101", "ResNet-101"),
        ("resnet152", "ResNet-152"),
        ("resnext50_32x4d", "ResNeXt"),
        ("wide_resnet50_2", "Wide ResNet"),
    ],
)
def test_another_backbone_is_named_with_those_that_are_known(tutorial, backbone, name):
    with pytest.raises(CheckpointError, match=rf"{name}.* backbone.*; pedseg knows resnet50_fpn, "):
        found(on_meta(tutorial, backbone=backbone))


def test_an_architecture_that_is_asked_for_has_to_fit(tutorial):
    tensors = on_meta(tutorial)
    assert found(tensors, architecture="maskrcnn_resnet18_fpn").num_classes == 2
    with pytest.raises(CheckpointError, match=r"tensors of maskrcnn_resnet50_fpn, .* missing"):
        found(tensors, architecture="maskrcnn_resnet50_fpn")
    with pytest.raises(InputError, match="did you mean 'maskrcnn_resnet18_fpn'"):
        found(tensors, architecture="maskrcnn_resnet19_fpn")
