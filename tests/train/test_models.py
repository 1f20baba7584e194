"""The registry, the weights that a model starts with, and the RoI poolers' trap."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from pedseg_runtime.errors import CheckpointError, DownloadError, InputError
from pedseg_train import architectures, pretrained
from pedseg_train.architectures import ARCHITECTURES, FROZEN, Norm, assemble, norm_of
from pedseg_train.checkpoint import CheckpointHeader, save_checkpoint
from pedseg_train.models import build_model

pytestmark = pytest.mark.slow

TORCHVISION_HAS = ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"]


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", TORCHVISION_HAS)
def test_state_dict_is_that_of_torchvisions_builder(name):
    with torch.device("meta"):
        theirs = getattr(torchvision.models.detection, name)(weights_backbone=None)
        ours = assemble(ARCHITECTURES[name], num_classes=91, norm=architectures.BATCH_NORM)
    assert shapes(ours) == shapes(theirs)


@pytest.mark.parametrize("name", [*ARCHITECTURES])
@pytest.mark.parametrize("kind", architectures.NORM_KINDS)
def test_pyramid_strides_and_norm_are_as_declared(name, kind):
    with torch.device("meta"):
        model = assemble(ARCHITECTURES[name], num_classes=2, norm=Norm(kind, eps=1e-3))
        levels = model.backbone(torch.zeros(2, 3, 128, 192))
    assert [tuple(level.shape[-2:]) for level in levels.values()] == [
        (32, 48), (16, 24), (8, 12), (4, 6), (2, 3),
    ]  # fmt: skip
    assert norm_of(model) == Norm(kind, eps=1e-3)


@pytest.mark.parametrize("first", [(3, 33, 640), (3, 640, 33)], ids=["very wide", "very tall"])
def test_first_image_does_not_change_later_answers(tiny_model, first):
    """torchvision's poolers guess their scales from the first image they see, for ever."""
    torch.manual_seed(1)
    model = tiny_model.eval()
    image = torch.rand(3, 70, 90)
    with torch.inference_mode():
        before = model([image])[0]
        fresh = build_model("maskrcnn_resnet18_fpn", min_size=64, max_size=96).eval()
        fresh.load_state_dict(model.state_dict())
        fresh.roi_heads.score_thresh, fresh.roi_heads.detections_per_img = 0.0, 10
        fresh([torch.rand(first)])
        after = fresh([image])[0]
    assert len(before["boxes"]) > 0
    assert torch.equal(before["boxes"], after["boxes"])
    assert torch.equal(before["masks"], after["masks"])


def test_pooler_scales_equal_what_torchvision_finds_on_a_usual_image(tiny_model):
    features = {str(i): torch.zeros(1, 1, 256 // s, 320 // s) for i, s in enumerate((4, 8, 16, 32))}
    stated = tiny_model.roi_heads.box_roi_pool
    guessing = torchvision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    guessing(features, [torch.tensor([[0.0, 0.0, 50.0, 50.0]])], [(256, 320)])
    assert stated.scales == guessing.scales
    assert vars(stated.map_levels) == vars(guessing.map_levels)


def test_scratch_model_trains_every_parameter_with_group_norm():
    model = build_model("maskrcnn_resnet18_fpn")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert norm_of(model).kind == "group_norm"


def backbone_file(path, name="maskrcnn_resnet18_fpn"):
    torch.manual_seed(5)
    body = ARCHITECTURES[name].body(nn.BatchNorm2d)
    torch.save({key: torch.rand_like(t) if t.is_floating_point() else t
                for key, t in body.state_dict().items()}, path)  # fmt: skip
    return path


def test_backbone_file_is_loaded_with_its_stem_and_batch_norm_frozen(tmp_path):
    path, told = backbone_file(tmp_path / "resnet18.pth"), []
    model = build_model("maskrcnn_resnet18_fpn", weights=path, notify=told.append)
    saved = torch.load(path, weights_only=True)
    assert torch.equal(model.backbone.body.layer4[0].conv1.weight, saved["layer4.0.conv1.weight"])
    assert norm_of(model) == FROZEN
    assert not model.backbone.body.layer1[0].conv1.weight.requires_grad
    assert model.backbone.body.layer2[0].conv1.weight.requires_grad
    assert "100 of the network's 142 tensors" in told[0]


def test_mobilenet_features_file_is_loaded_under_its_own_names(tmp_path):
    body = ARCHITECTURES["maskrcnn_mobilenet_v2_fpn"].body(FROZEN.layer)
    path = tmp_path / "features.pth"
    torch.save({f"features.{key}": tensor for key, tensor in body.state_dict().items()}, path)
    model = build_model("maskrcnn_mobilenet_v2_fpn", weights=path)
    assert all(
        torch.equal(tensor, body.state_dict()[name])
        for name, tensor in model.backbone.body.state_dict().items()
    )
    assert [p.requires_grad for p in model.backbone.body["3"].parameters()] == [False] * 3
    assert all(p.requires_grad for p in model.backbone.body["4"].parameters())


def test_coco_weights_get_new_predictors_and_keep_the_rest(monkeypatch):
    architecture = ARCHITECTURES["maskrcnn_resnet18_fpn"]
    coco = assemble(architecture, num_classes=91, norm=FROZEN).state_dict()
    found = pretrained.Pretrained("coco", Norm("frozen_batch_norm", eps=0.0), coco)
    monkeypatch.setattr("pedseg_train.models.find_pretrained", lambda *_: found)
    model = build_model("maskrcnn_resnet18_fpn", weights="coco")
    heads = model.roi_heads
    assert heads.box_predictor.cls_score.out_features == 2
    assert heads.mask_predictor.conv5_mask.out_channels == 256
    assert heads.mask_predictor.mask_fcn_logits.out_channels == 2
    assert torch.equal(heads.box_head.fc6.weight, coco["roi_heads.box_head.fc6.weight"])
    assert norm_of(model).eps == 0.0


def test_model_can_start_from_a_checkpoint_with_its_norm_and_anchors(tmp_path):
    name, sizes = "maskrcnn_resnet18_fpn", (16, 32, 64, 128, 256)
    first = build_model(name, anchor_sizes=sizes)
    header = CheckpointHeader.of(first, architecture=name, class_names=("background", "person"))
    save_checkpoint(tmp_path / "first.safetensors", first, header)
    second = build_model(name, weights=tmp_path / "first.safetensors")
    assert norm_of(second) == norm_of(first)
    assert second.rpn.anchor_generator.sizes == first.rpn.anchor_generator.sizes
    assert all(
        torch.equal(tensor, second.state_dict()[key]) for key, tensor in first.state_dict().items()
    )


def unfitting(tmp_path):
    torch.save({"something.weight": torch.zeros(3)}, tmp_path / "x.pth")


def whole_pickle(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "x.pth")


def no_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "x.pth")


def text_file(tmp_path):
    (tmp_path / "x.pth").write_text("not weights")


@pytest.mark.parametrize("write", [unfitting, whole_pickle, no_tensors, text_file])
def test_unusable_weights_file_is_refused_in_one_line(tmp_path, write):
    write(tmp_path)
    with pytest.raises(CheckpointError, match=r"x\.pth: .*expected|none of its") as caught:
        build_model("maskrcnn_resnet18_fpn", weights=tmp_path / "x.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "maskrcnn_resnet19_fpn"}, "did you mean 'maskrcnn_resnet18_fpn'"),
        ({"weights": "coco"}, "only for maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2"),
        ({"weights": "cocoo"}, 'expected "coco", "imagenet", "none" or a file'),
        ({"min_size": 900, "max_size": 800}, "min_size <= max_size"),
        ({"anchor_sizes": (32, 64)}, "one per pyramid level"),
        ({"class_names": ("background",)}, "background and one more"),
    ],
    ids=["architecture", "no coco weights", "weights", "sizes", "anchors", "classes"],
)
def test_wrong_argument_says_what_was_expected(arguments, message):
    with pytest.raises(InputError, match=message):
        build_model(**{"name": "maskrcnn_resnet18_fpn", **arguments})


def test_failed_download_is_one_line_with_a_way_out(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("torch.hub.os.path.exists", lambda _path: False)
    with pytest.raises(DownloadError, match="pass its path as weights") as caught:
        build_model("maskrcnn_resnet18_fpn", weights="imagenet")
    assert "\n" not in str(caught.value)


LITE = "maskrcnn_resnet10_fpn_lite"


@pytest.mark.parametrize("weights", ["coco", "imagenet"])
def test_light_architecture_has_no_weights_and_says_which_have(weights):
    with pytest.raises(InputError, match=f"no {weights} weights for {LITE}, only for maskrcnn_"):
        build_model(LITE, weights=weights)


@pytest.mark.parametrize("name", [LITE, "maskrcnn_resnet18_fpn"])
def test_scratch_heads_begin_without_an_opinion(name, noise):
    """torchvision's own mask predictor begins with logits so large that training diverges."""
    torch.manual_seed(0)
    model = build_model(name, min_size=64, max_size=96, detections_per_image=5).eval()
    with torch.inference_mode():
        found = model([torch.from_numpy(noise).permute(2, 0, 1).float() / 255])[0]
    assert len(found["scores"]) > 0
    assert torch.all((found["scores"] - 0.5).abs() < 0.3)
    assert 0.4 < found["masks"].max() < 0.6
