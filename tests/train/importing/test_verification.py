"""The user's own model is run beside the import, and what tensors do not show is compared too."""

from __future__ import annotations

import textwrap

import pytest
import torch
from safetensors.torch import load_file

from pedseg_runtime.errors import InputError, ParityError
from pedseg_train.checkpoint import load_checkpoint
from pedseg_train.importing import ImportOptions, import_weights, verification
from pedseg_train.importing.verification import NamedImage, load_user_model

SCRIPT = """
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

print("noise on standard output")

def build():
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    model = MaskRCNN(
        backbone, 2, min_size=64, max_size=96, box_score_thresh=0.01, box_detections_per_img=10
    )
    overwrite_eps(model, 0.0)
    model.load_state_dict(torch.load(FILE, weights_only=True))
    return model

def changed():
    model = build()
    CHANGE
    return model

class Trainer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build()

def a_number():
    return 3

def broken():
    return build().there_is_no_such_attribute
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory, tutorial):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("import") / "model.pth"
    torch.save(tutorial(2).state_dict(), path)
    return path


@pytest.fixture
def script(tmp_path, file):
    def write(change="pass"):
        text = textwrap.dedent(SCRIPT).replace("FILE", repr(str(file))).replace("CHANGE", change)
        (tmp_path / "train.py").write_text(text)
        return tmp_path / "train.py"

    return write


def load(file, tmp_path, image, target, **options):
    return import_weights(
        file,
        output=tmp_path / "out.safetensors",
        options=ImportOptions(verify_against=target, **options),
        images=[NamedImage("noise", image)],
    )


@pytest.mark.parametrize("function", ["build", "Trainer"])
def test_settings_come_from_the_users_model_and_detections_are_its_own(
    file, tmp_path, image, script, function, capsys
):
    result = load(file, tmp_path, image, f"{script()}:{function}")
    header = result.header
    assert (header.min_size, header.max_size, header.norm_eps) == (64, 96, 0.0)
    assert (header.score_threshold, header.detections_per_image) == (0.01, 10)
    assert result.report.passed
    assert result.report.counts.matched == 10
    assert [field.max for field in result.report.fields] == [0, 0, 0]
    assert header.imported["verified"]["detections"] == 10
    assert capsys.readouterr().out == ""
    assert load_checkpoint(result.path).header == header


def test_the_checkpoint_on_disk_has_the_users_tensors(file, tmp_path, image, script):
    result = load(file, tmp_path, image, f"{script()}:build")
    expected = torch.load(file, weights_only=True)
    found = load_file(result.path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.rpn.nms_thresh = 0.5", r"rpn_nms_thresh 0.5 instead of 0.7"),
        ("model.transform.image_mean = [0, 0, 0]", r"image_mean \(0, 0, 0\) instead of \(0.485"),
        ("model.roi_heads.box_coder.weights = (1, 1, 1, 1)", "bbox_reg_weights"),
        ("model.backbone.body.bn1.eps = 1e-3", "one eps for all norms"),
        (
            "model.rpn.anchor_generator.aspect_ratios = ((0.5, 1.0, 3.0),) * 5",
            "anchor ratios",
        ),
        (
            "model.roi_heads.box_predictor.cls_score.bias.data += 1",
            r"1 tensors that differ \(first roi_heads.box_predictor.cls_score.bias\)",
        ),
    ],
)
def test_what_no_tensor_shows_is_compared(file, tmp_path, image, script, change, message):
    with pytest.raises(InputError, match=message):
        load(file, tmp_path, image, f"{script(change)}:changed")
    assert not (tmp_path / "out.safetensors").exists()


def test_an_option_that_contradicts_the_users_model_is_refused(file, tmp_path, image, script):
    with pytest.raises(InputError, match=r"norm_eps 0.0 instead of 1e-05"):
        load(file, tmp_path, image, f"{script()}:build", norm_eps=1e-5)


def test_another_eps_is_seen_in_the_detections(file, tmp_path, image, script, monkeypatch):
    """Without the comparison of settings, as if some setting had been forgotten there."""
    monkeypatch.setattr("pedseg_train.importing.importer.check_settings", lambda *_: None)
    with pytest.raises(ParityError, match="detects otherwise than your model"):
        load(file, tmp_path, image, f"{script()}:build", norm_eps=1e-5)
    assert not (tmp_path / "out.safetensors").exists()


def test_where_nothing_is_detected_all_detections_are_compared(file, tmp_path, image, script):
    change = "model.roi_heads.score_thresh = 0.999"
    result = load(file, tmp_path, image, f"{script(change)}:changed")
    assert result.header.score_threshold == 0.999
    assert result.report.counts.matched == 10


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{}", "expected SCRIPT.py:FUNCTION"),
        ("{}:no_such", "has no function 'no_such'; it has .*build"),
        ("{}:a_number", "to return torchvision's MaskRCNN .* found int"),
        ("{}:broken", r"failed at line \d+ \(AttributeError: .*no_such_attribute"),
        ("nowhere.py:build", "no such file"),
    ],
)
def test_unusable_script_is_named(script, target, message):
    with pytest.raises(InputError, match=message) as caught:
        load_user_model(target.format(script()))
    assert "\n" not in str(caught.value)


def test_every_setting_can_be_read_from_torchvisions_model(file, script):
    model = load_user_model(f"{script()}:build")
    settings = verification._KEPT | verification._FIXED
    read = {name: verification._read(how, model) for name, how in settings.items()}
    assert "unreadable" not in read.values()
