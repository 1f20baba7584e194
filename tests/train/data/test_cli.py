import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from PIL import Image

from pedseg_train.commands.data import main
from pedseg_train.data import open_images, read_split, tutorial_split


@pytest.fixture
def run():
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def test_help_names_the_commands(run):
    result = run("--help")
    assert result.exit_code == 0
    assert all(
        name in result.output
        for name in ("check", "show", "split", "convert", "synthesize", "download")
    )


def test_a_misspelt_command_is_suggested(run):
    result = run("synthesise")
    assert result.exit_code == 2
    assert "did you mean 'synthesize'?" in result.output


def test_streets_can_be_made_checked_and_shown(run, tmp_path):
    root, sheet = tmp_path / "streets", tmp_path / "sheet.png"
    options = ("--images", 2, "--min-size", 128, "--max-size", 140)
    made = run("synthesize", root, *options)
    assert made.exit_code == 0
    assert "2 images with" in made.stdout
    assert f"pedseg-data show {root}" in made.stderr
    checked = run("check", root)
    assert checked.exit_code == 0
    assert "0 errors, 0 warnings" in checked.stdout
    shown = run("show", root, "--output", sheet, "--count", 2, "--columns", 1)
    assert shown.exit_code == 0
    with Image.open(sheet) as image:
        assert image.height > 400


def test_synthesize_can_answer_in_json(run, tmp_path):
    result = run("synthesize", tmp_path, "--images", 1, "--max-size", 240, "--json")
    assert json.loads(result.stdout)["images"] == 1


def test_check_fails_on_errors_and_lists_them(run, dataset):
    (dataset / "PedMasks" / "a_mask.png").unlink()
    result = run("check", dataset)
    assert result.exit_code == 1
    assert "error PNGImages/a.png: expected the mask" in result.stdout
    as_json = run("check", dataset, "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["passed"] is False


def test_check_lists_the_worst_problems_only(run, dataset):
    for index in range(25):
        (dataset / "PNGImages" / f"note{index}.txt").write_text("")
    result = run("check", dataset)
    assert result.exit_code == 0
    assert "and 24 more like it; --json lists all" in result.stdout


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_missing_folder_is_one_line_and_exit_1(run, tmp_path, command):
    options = ["--output", tmp_path / "sheet.png"] if command == "show" else []
    result = run(command, tmp_path / "nowhere", *options)
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "found nothing" in result.stderr


def test_a_sheet_of_another_format_is_a_usage_error(run, dataset):
    result = run("show", dataset, "--output", "sheet.gif")
    assert result.exit_code == 2
    assert "found 'sheet.gif'" in result.stderr


def test_a_download_of_other_content_fails_and_can_be_accepted(run, dataset, tmp_path):
    import shutil

    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", dataset)
    refused = run("download", tmp_path / "photos", "--archive", archive)
    assert refused.exit_code == 1
    assert "digests differ" in refused.stderr
    accepted = run("download", tmp_path / "photos", "--archive", archive, "--any-content")
    assert accepted.exit_code == 0
    assert (tmp_path / "photos" / "PNGImages").is_dir()


def test_the_command_line_starts_without_torch():
    code = (
        "import sys, pedseg_train.commands.data as command; "
        "print('torch' in sys.modules, command.main.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "main"]


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "pedseg_train.commands.data", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Penn-Fudan layout or in COCO JSON" in done.stdout


def test_a_coco_file_can_be_checked_shown_and_converted(run, coco, tmp_path):
    checked = run("check", coco, "--categories", "dog, person", "--json")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["classes"] == {"person": 1, "dog": 2}
    shown = run("show", coco, "--output", tmp_path / "sheet.png", "--categories", "dog")
    assert shown.exit_code == 0
    converted = run(
        "convert", coco, tmp_path / "people", "--to", "pennfudan", "--categories", "person"
    )
    assert converted.exit_code == 0, converted.stderr
    assert "3 images with 1 instances\n  1 crowd regions left out" in converted.stdout
    back = run("convert", tmp_path / "people", tmp_path / "coco2", "--to", "coco", "--json")
    assert json.loads(back.stdout)["instances"] == 1
    assert f"pedseg-data check {tmp_path / 'coco2'}" in back.stderr


@pytest.mark.parametrize("names", ["", "dog,,person"])
def test_a_list_of_categories_with_gaps_is_a_usage_error(run, coco, names):
    result = run("check", coco, "--categories", names)
    assert result.exit_code == 2
    assert "values with commas between" in result.stderr


def test_a_split_is_written_and_checked(run, dataset, smooth, tmp_path):
    for name, size in (("a", (30, 20)), ("e", (60, 40)), ("f", (60, 40))):
        smooth(1, size).save(dataset / "PNGImages" / f"{name}.png")
        Image.new("L", size).save(dataset / "PedMasks" / f"{name}_mask.png")
    file = tmp_path / "split.json"
    made = run("split", dataset, "--output", file, "--val", 0, "--test", 0.5, "--seed", 3)
    assert made.exit_code == 0, made.stderr
    assert "3 images in 1 groups kept together" in made.stdout
    checked = run("check", dataset, "--split-file", file)
    assert checked.exit_code == 0
    assert "near-identical across the split" in checked.stdout
    content = json.loads(file.read_text())
    assert content["made"]["seed"] == 3
    together = next(part for part in ("train", "val", "test") if "a" in content[part])
    assert set("aef") <= set(content[together])
    content["train"], content["test"] = ["a", "b", "e"], ["c", "d", "f"]
    file.write_text(json.dumps(content))
    leaking = run("check", dataset, "--split-file", file, "--json")
    assert leaking.exit_code == 1
    leaks = json.loads(leaking.stdout)["leaks"]
    assert [(leak["first"], leak["second"], leak["identical"]) for leak in leaks] == [
        ("e", "f", True)
    ]


def test_the_tutorials_split_is_one_of_them(run, dataset, tmp_path):
    file = tmp_path / "split.json"
    made = run("split", dataset, "--output", file, "--tutorial", "--seed", 4, "--json")
    assert json.loads(made.stdout)["test"] == 1
    expected = tutorial_split(4, seed=4)
    assert read_split(file, open_images(dataset)) == expected
    mixed = run("split", dataset, "--output", file, "--tutorial", "--val", 0.1)
    assert mixed.exit_code == 2
    assert "--val has no place with --tutorial" in mixed.stderr


def test_videos_can_be_kept_together_by_folder(run, document, write_coco, tmp_path):
    names = ["x/1.png", "x/2.png", "y/1.png", "y/2.png"]
    document["images"] = [
        {"id": i, "file_name": name, "width": 30, "height": 20} for i, name in enumerate(names)
    ]
    document["annotations"] = [{**document["annotations"][0], "image_id": 0}]
    file = tmp_path / "split.json"
    options = ("--output", file, "--val", 0, "--test", 0.5, "--group-by")
    assert run("split", write_coco(document), *options, "folder").exit_code == 0
    content = json.loads(file.read_text())
    assert sorted(len({name[0] for name in content[part]}) for part in ("train", "test")) == [1, 1]
    assert run("split", tmp_path / "coco", *options, "none").exit_code == 0
