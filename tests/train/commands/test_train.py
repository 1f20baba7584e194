"""`pedseg-train`: a run leaves what it promises, resumes, and refuses what it cannot do."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import statistics

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from pedseg_train.checkpoint import load_checkpoint, read_header
from pedseg_train.commands.train import main
from pedseg_train.recipes import RECIPES
from pedseg_train.run.writer import RunWriter

pytestmark = pytest.mark.slow

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
        "panel.png", "recipe.json", "report.html", "split.json",
    ]  # fmt: skip
    for name in ("curves.png", "panel.png"):
        with Image.open(folder / name) as image:
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


def test_stopped_run_says_how_to_go_on_and_ends_with_the_same_weights(
    trained, toy_root, tmp_path, monkeypatch
):
    """SIGTERM comes in the second epoch's first step; its state is kept, not the step lost."""
    folder, save = tmp_path / "run", RunWriter.notify_epoch

    def terminate(writer, state):
        save(writer, state)
        if state.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunWriter, "notify_epoch", terminate)
    stopped = invoke("--data", toy_root, "--output", folder, *TINY)
    assert stopped.exit_code == 1
    assert "SIGTERM: stopping after this step" in stopped.stderr
    assert "stopped after epoch 1 (SIGTERM), its state is saved" in stopped.stderr
    assert f"pedseg-train --data {toy_root} --output {folder} --resume" in stopped.stderr
    monkeypatch.setattr(RunWriter, "notify_epoch", save)
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
        (["--amp", "fp16"], 1, "fp16 needs CUDA"),
        (["--freeze", "stem,stag2"], 2, "did you mean 'stage2'?"),
        (["--train-sizes", "400,big"], 2, "'big' is not a valid integer"),
        (["--split-file", "none.json"], 1, "none.json: expected a split file"),
    ],
    ids=[
        "architecture",
        "preset",
        "epochs",
        "weights",
        "sizes",
        "nothing to resume",
        "amp",
        "freeze",
        "train sizes",
        "split file",
    ],
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
    assert options - fields == {
        "data", "run", "device", "split_file", "images", "resume", "save_every", "seeds",
        "tensorboard", "as_json",
    }  # fmt: skip
    assert fields <= options


def test_several_values_are_separated_by_commas(toy_root, copy):
    """They arrive in the recipe: the refusal to resume shows them."""
    result = invoke(
        "--data", toy_root, "--output", copy, "--resume", "--freeze", "stem,rpn", "--train-sizes",
        "40, 48", "--no-norm-decay", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 1
    for shown in ("-> ['stem', 'rpn']", "-> [40, 48]", "norm_decay: True -> False"):
        assert shown in result.stderr


def test_validation_part_chooses_and_the_test_part_is_measured_at_the_end(toy_root, tmp_path):
    names = [f"toy{number}" for number in range(6)]
    split = {"train": names[:3], "val": names[3:4], "test": names[4:]}
    file = tmp_path / "split.json"
    file.write_text(json.dumps({"schema_version": 2, **split}))
    folder = tmp_path / "run"
    result = invoke("--data", toy_root, "--output", folder, *TINY, "--split-file", file, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["chosen_by"] == "val"
    assert json.loads((folder / "test.json").read_text())["images"] == 2
    assert summary["test"] != {kind: summary[kind] for kind in ("bbox", "segm")}
    written = json.loads((folder / "split.json").read_text())
    assert {part: written[part] for part in split} == split
    header = read_header(folder / "best.safetensors")
    assert (header.split["val"], header.split["chosen_by"]) == (1, "val")


def test_seeds_train_on_one_split_and_report_the_spread(toy_root, tmp_path):
    folder = tmp_path / "runs"
    arguments = ["--data", toy_root, "--output", folder, *TINY, "--epochs", 1, "--seed", 4]
    result = invoke(*arguments, "--seeds", 2, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary == json.loads((folder / "seeds.json").read_text())
    assert summary["seeds"] == [4, 5]
    splits = [(folder / f"seed{seed}" / "split.json").read_text() for seed in (4, 5)]
    assert splits[0] == splits[1]
    values = [run["test"]["segm"]["AP"] for run in summary["runs"]]
    spread = summary["spread"]["segm_AP"]
    assert spread["mean"] == pytest.approx(statistics.fmean(values))
    assert spread["deviation"] == pytest.approx(statistics.stdev(values))
    more = invoke("--data", toy_root, "--output", folder, "--resume", "--seed", 4, "--seeds", 3,
                  "--device", "cpu")  # fmt: skip
    assert more.exit_code == 0, more.output
    assert "3 seeds" in more.stdout
    assert (folder / "seed6" / "best.safetensors").is_file()


def test_folder_that_cannot_be_written_is_refused_before_training(toy_root, tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("--data", toy_root, "--output", tmp_path / "file" / "run", *TINY)
    assert result.exit_code == 1
    assert "expected a folder that can be written to" in result.stderr


def test_left_overs_of_a_killed_process_are_swept_away(copy, toy_root):
    (copy / ".last.resume-abcd1234.pt").write_bytes(b"half a state")
    result = invoke("--data", toy_root, "--output", copy, "--resume", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert not list(copy.glob(".*"))


def test_resume_with_another_number_of_processes_shows_the_difference(copy, toy_root):
    settings = json.loads((copy / "recipe.json").read_text())
    (copy / "recipe.json").write_text(json.dumps({**settings, "processes": 2}))
    result = invoke("--data", toy_root, "--output", copy, "--resume", "--device", "cpu")
    assert result.exit_code == 1
    assert "processes: 2 -> 1" in result.stderr


def test_resume_with_another_split_is_refused(copy, toy_root, tmp_path):
    file = tmp_path / "split.json"
    split = {"train": ["toy0"], "val": [], "test": ["toy1"]}
    file.write_text(json.dumps({"schema_version": 2, **split}))
    result = invoke("--data", toy_root, "--output", copy, "--resume", "--split-file", file)
    assert result.exit_code == 1
    assert "expected the split that the run began with" in result.stderr


def test_help_shows_the_recipe_under_its_headings():
    page = invoke("--help").stdout
    headings = ["Options:", *(f"Recipe, {group}:" for group in ("network", "schedule", "data"))]
    places = [page.index(heading) for heading in headings]
    assert places == sorted(places)
    assert page.index("--resume") < places[1] < page.index("--freeze") < places[2]
    assert "stem, stage1" in " ".join(page.split())


def write_masks(root, change):
    for path in (root / "PedMasks").iterdir():
        with Image.open(path) as image:
            ids = np.asarray(image)
        Image.fromarray(change(ids)).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids * 0, "expected instances to learn from in the 5 training images"),
        (lambda ids: np.pad(ids, ((0, 3), (0, 0))), "expected the image's size 80x64, found 80x67"),
        (lambda ids: np.where(ids == 2, 255, ids).astype(np.uint8), "PASCAL VOC"),
    ],
    ids=["empty", "size", "void"],
)
def test_bad_data_is_an_error_before_anything_is_written(toy_root, tmp_path, change, message):
    data = shutil.copytree(toy_root, tmp_path / "data")
    write_masks(data, change)
    result = invoke("--data", data, "--output", tmp_path / "run", *TINY)
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_what_is_left_out_is_one_line(toy_root, tmp_path):
    data = shutil.copytree(toy_root, tmp_path / "data")

    def thin(ids):
        found = ids.copy()
        found[0, 0] = 3
        return found

    write_masks(data, thin)
    folder = tmp_path / "run"
    result = invoke("--data", data, "--output", folder, *TINY, "--epochs", "1")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("left out")]
    assert "6 instances" in line
    assert "pedseg-data check" in line


def test_a_run_that_saved_nothing_can_be_started_again_in_its_folder(toy_root, tmp_path):
    arguments = ("--data", toy_root, "--output", tmp_path / "run", *TINY, "--epochs", "1")
    failed = invoke(*arguments, "--lr", "1e9", "--warmup", "0")
    assert failed.exit_code == 1
    assert "lower the learning rate" in failed.output
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"recipe.json", "split.json"}
    again = invoke(*arguments)
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["lr"] < 1


def test_a_class_map_is_part_of_the_recipe(toy_root, tmp_path):
    folder = tmp_path / "run"
    options = ("--map", '"person=human, upright"', "--epochs", "1")
    result = invoke("--data", toy_root, "--output", folder, *TINY, *options)
    assert result.exit_code == 0, result.output
    assert read_header(folder / "best.safetensors").class_names == ("background", "human, upright")
    assert "--map" in result.stderr.splitlines()[-2]
