"""`pedseg-train`: a run leaves what it promises, resumes, and refuses what it cannot do."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from pedseg_train import run
from pedseg_train.checkpoint import load_checkpoint, read_header
from pedseg_train.recipes import RECIPES
from pedseg_train.train_cli import main

TINY = [
    "--preset", "smoke", "--min-size", "48", "--max-size", "64", "--epochs", "2",
    "--batch-size", "3", "--box-batch", "16", "--proposals", "50", "--workers", "0",
    "--device", "cpu",
]  # fmt: skip


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(toy_root, tmp_path_factory):
    """A finished run and what the command printed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    result = invoke("--data", toy_root, "--output", folder, *TINY, "--json")
    assert result.exit_code == 0, result.output
    return folder, result


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the finished run that a test may change."""
    return shutil.copytree(trained[0], tmp_path / "run")


def test_run_leaves_every_file(trained):
    folder, _ = trained
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors", "curves.png", "last.resume.pt", "last.safetensors", "metrics.jsonl",
        "panel.png", "recipe.json", "split.json",
    ]  # fmt: skip
    for picture in ("curves.png", "panel.png"):
        with Image.open(folder / picture) as image:
            assert min(image.size) > 100


def test_json_summary_is_alone_on_stdout_and_next_commands_on_stderr(trained):
    folder, result = trained
    summary = json.loads(result.stdout)
    assert summary["best"] == str(folder / "best.safetensors")
    assert (summary["epochs"], set(summary["bbox"])) == (2, set(summary["segm"]))
    assert f"pedseg-eval {folder / 'best.safetensors'}" in result.stderr
    assert f"pedseg-export {folder / 'best.safetensors'} --format onnx" in result.stderr


def test_metrics_have_a_line_per_epoch(trained):
    lines = (trained[0] / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["epoch"] for record in records] == [1, 2]
    assert {"lr", "losses", "seconds", "evaluation_seconds", "bbox", "segm"} <= set(records[0])


def test_recipe_records_the_overrides_and_the_data(trained):
    settings = json.loads((trained[0] / "recipe.json").read_text())
    assert f"min_size: {RECIPES['smoke'].min_size} -> 48" in settings["overrides"]
    assert settings["recipe"]["box_batch"] == 16
    assert set(settings["dataset_digest"]) == {"PNGImages", "PedMasks"}


def test_checkpoint_header_tells_the_whole_story(trained):
    folder, _ = trained
    header = load_checkpoint(folder / "last.safetensors").header
    split = json.loads((folder / "split.json").read_text())
    assert header.epoch == 2
    assert header.recipe == json.loads((folder / "recipe.json").read_text())["recipe"]
    assert (header.min_size, header.max_size) == (48, 64)
    assert set(header.metrics) == {"bbox", "segm"}
    assert (header.split["train"], header.split["test"]) == (5, 1)
    assert len(split["train"]) == 5


def test_resumed_run_ends_with_the_same_weights(trained, toy_root, tmp_path, monkeypatch):
    """The second epoch is interrupted before it is saved, and trained again by --resume."""
    folder, save = tmp_path / "run", run._save_epoch

    def save_once(*arguments):
        if len(arguments[-1].history) == 2:
            raise KeyboardInterrupt
        save(*arguments)

    monkeypatch.setattr(run, "_save_epoch", save_once)
    stopped = invoke("--data", toy_root, "--output", folder, *TINY)
    assert stopped.exit_code == 1
    assert f"pedseg-train --data {toy_root} --output {folder} --resume" in stopped.stderr
    monkeypatch.setattr(run, "_save_epoch", save)
    resumed = invoke("--data", toy_root, "--output", folder, "--resume", "--device", "cpu")
    assert resumed.exit_code == 0, resumed.output
    assert "resuming after epoch 1 of 2" in resumed.stderr
    expected = load_file(trained[0] / "last.safetensors")
    assert all(
        tensor.equal(expected[name])
        for name, tensor in load_file(folder / "last.safetensors").items()
    )


def test_finished_run_can_be_given_more_epochs(copy, toy_root):
    result = invoke(
        "--data", toy_root, "--output", copy, "--resume", "--epochs", 3, "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    assert read_header(copy / "last.safetensors").epoch == 3
    assert len((copy / "metrics.jsonl").read_text().splitlines()) == 3


def test_resume_with_another_recipe_shows_the_difference(copy, toy_root):
    result = invoke("--data", toy_root, "--output", copy, "--resume", "--lr", 0.5)
    assert result.exit_code == 1
    assert f"lr: {RECIPES['smoke'].lr} -> 0.5" in result.stderr


def test_resume_with_other_data_shows_the_difference(copy, toy_root, tmp_path):
    other = shutil.copytree(toy_root, tmp_path / "other")
    Image.new("RGB", (80, 64)).save(other / "PNGImages" / "toy0.png")
    result = invoke("--data", other, "--output", copy, "--resume")
    assert result.exit_code == 1
    assert "content of PNGImages:" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--architecture", "maskrcnn_resnet18"], 2, "did you mean 'maskrcnn_resnet18_fpn'?"),
        (["--preset", "smok"], 2, "did you mean 'smoke'?"),
        (["--epochs", "0"], 2, "0 is not in the range"),
        (["--preset", "smoke", "--weights", "coco"], 1, "no coco weights"),
        (["--preset", "smoke", "--min-size", "900"], 1, "min_size <= max_size"),
        (["--resume"], 1, "found no recipe.json"),
    ],
    ids=["architecture", "preset", "epochs", "weights", "sizes", "nothing to resume"],
)
def test_wrong_option_is_one_line(toy_root, tmp_path, arguments, code, message):
    result = invoke("--data", toy_root, "--output", tmp_path / "run", "--device", "cpu", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_folder_in_use_is_refused(copy, toy_root):
    result = invoke("--data", toy_root, "--output", copy, *TINY)
    assert result.exit_code == 1
    assert "expected a new or empty folder" in result.stderr


def test_cuda_without_a_gpu_is_one_line(toy_root, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    result = invoke("--data", toy_root, "--output", tmp_path / "run", "--device", "cuda")
    assert result.exit_code == 1
    assert "sees 0 GPUs" in result.stderr


def test_dataset_that_is_none_is_one_line(tmp_path):
    result = invoke("--data", tmp_path / "nothing", "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert "expected a dataset folder" in result.stderr


def test_damaged_settings_cannot_be_resumed(copy, toy_root):
    (copy / "recipe.json").write_text("{")
    result = invoke("--data", toy_root, "--output", copy, "--resume")
    assert result.exit_code == 1
    assert "start another run" in result.stderr


def test_options_and_recipe_have_the_same_names():
    fields = {field.name for field in dataclasses.fields(RECIPES["smoke"])}
    options = {parameter.name for parameter in main.params}
    assert options - fields == {"data", "run", "device", "resume", "as_json"}
