"""`pedseg-import`: what it prints, its exit codes, and that nothing is left by a failure."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from pedseg_train.checkpoint import load_checkpoint
from pedseg_train.commands.import_weights import main
from pedseg_train.models import build_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Three classes, trained norms, a narrow mask predictor: state dict of torchvision's own."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=torch.nn.BatchNorm2d
    )
    model = MaskRCNN(backbone, 4)
    model.roi_heads.mask_predictor = type(model.roi_heads.mask_predictor)(256, 96, 4)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": model.state_dict(), "epoch": 3}, path)
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_summary_says_what_was_read_chosen_and_comes_next(weights, tmp_path):
    output = tmp_path / "new" / "out.safetensors"
    result = run(weights, "--output", output, "--class-names", "person,dog,pram")
    assert result.exit_code == 0, result.output
    for line in (
        "architecture  maskrcnn_resnet18_fpn",
        "classes       person, dog, pram (4 labels with the background)",
        "norms         batch norm, eps 1e-05: torch's default for batch norm",
        "mask width    96",
        "sizes         shorter side 800, longer at most 1333 pixels",
    ):
        assert line in result.stdout
    assert f"pedseg-export {output}" in result.stderr
    loaded = load_checkpoint(output)
    assert loaded.header.class_names == ("background", "person", "dog", "pram")
    assert loaded.header.mask_width == 96
    expected = torch.load(weights, weights_only=True)["model"]
    assert all(torch.equal(loaded.model.state_dict()[name], t) for name, t in expected.items())


def test_json_is_all_of_standard_output(weights, tmp_path):
    output = tmp_path / "out.safetensors"
    result = run(weights, "-o", output, "--json", "--min-size", 64, "--max-size", 96)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["path"] == str(output)
    assert document["header"]["class_names"] == ["background", "class1", "class2", "class3"]
    assert document["header"]["min_size"] == 64
    assert document["header"]["imported"]["entry"] == "model"
    assert document["eps_effect"] is None


def test_training_starts_from_an_import_with_its_mask_width(weights, tmp_path):
    output = tmp_path / "out.safetensors"
    assert run(weights, "-o", output).exit_code == 0
    names = ("background", "a", "b", "c")
    foreign = tmp_path / "foreign.safetensors"
    save_file(torch.load(weights, weights_only=True)["model"], foreign)
    for start in (output, weights, foreign):
        model = build_model("maskrcnn_resnet18_fpn", weights=start, class_names=names)
        assert model.roi_heads.mask_predictor.conv5_mask.out_channels == 96


def test_class_names_are_read_from_a_file(weights, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("background\nperson\ndog, small\n\npram\n", encoding="utf-8")
    assert run(weights, "-o", tmp_path / "o.safetensors", "--class-names", names).exit_code == 0
    loaded = load_checkpoint(tmp_path / "o.safetensors")
    assert loaded.header.class_names == ("background", "person", "dog, small", "pram")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--class-names", "person"], 1, "expected 3 for the labels 1 to 3"),
        (["--class-names", "a,a,b"], 1, "expected different names"),
        (["--class-names", "a,,b"], 1, "names with commas between"),
        (["--architecture", "maskrcnn_resnet50_fpn"], 1, "tensors of maskrcnn_resnet50_fpn"),
        (["--architecture", "maskrcnn_resnet19_fpn"], 2, "did you mean"),
        (["--norm-eps", "-1"], 2, "norm-eps"),
        (["--min-size", "900", "--max-size", "800"], 1, "min_size <= max_size"),
        (["--score-threshold", "1.5"], 1, "score_threshold: expected"),
        (["--anchor-sizes", "32,64"], 1, "one per pyramid level"),
        (["--entry", "ema"], 1, "--entry to be one of model, found 'ema'"),
        (["--verify-against", "x.py"], 1, "expected SCRIPT.py:FUNCTION"),
    ],
)
def test_wrong_option_is_one_line_and_writes_nothing(weights, tmp_path, options, code, message):
    result = run(weights, "--output", tmp_path / "out.safetensors", *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    assert [*tmp_path.iterdir()] == []


def test_output_has_to_be_another_safetensors_file(weights, tmp_path):
    assert "ends in .safetensors" in run(weights, "-o", tmp_path / "out.pth").stderr
    same = weights.rename(weights.with_suffix(".safetensors"))
    try:
        assert "expected another file" in run(same, "-o", same).stderr
    finally:
        same.rename(weights)
    assert run(weights).exit_code == 2


@pytest.mark.parametrize("command", ["export", "eval", "predict"])
def test_every_command_that_wants_a_checkpoint_names_the_import(weights, tmp_path, command):
    """They are given the state dict itself, as its owner would try first."""
    from pedseg_export.commands.export import main as export
    from pedseg_runtime.predict.cli import main as predict
    from pedseg_train.commands.evaluate import main as evaluate

    image = tmp_path / "street.png"
    Image.new("RGB", (8, 8)).save(image)
    commands = {
        "export": (export, [weights]),
        "eval": (evaluate, [weights, "--data", tmp_path]),
        "predict": (predict, [weights, image, "--output", tmp_path / "out"]),
    }
    main, arguments = commands[command]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1
    assert "pedseg-import" in result.stderr
