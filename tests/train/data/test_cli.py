import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from PIL import Image

from pedseg_train.data.cli import main


@pytest.fixture
def run():
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def test_help_names_the_commands(run):
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in ("check", "show", "synthesize", "download"))


def test_a_misspelt_command_is_suggested(run):
    result = run("synthesise")
    assert result.exit_code == 2
    assert "did you mean 'synthesize'?" in result.output


def test_streets_can_be_made_checked_and_shown(run, tmp_path):
    root, sheet = tmp_path / "streets", tmp_path / "sheet.png"
    options = ("--images", 2, "--min-size", 128, "--max-size", 140)
    made = run("synthesize", root, *options)
    assert made.exit_code == 0
    assert "2 pictures with" in made.stdout
    assert f"pedseg-data show {root}" in made.stderr
    checked = run("check", root)
    assert checked.exit_code == 0
    assert "0 errors, 0 warnings" in checked.stdout
    shown = run("show", root, "--output", sheet, "--count", 2, "--columns", 1)
    assert shown.exit_code == 0
    with Image.open(sheet) as picture:
        assert picture.height > 400


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
    assert "and 5 more; --json lists all" in result.stdout


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
    code = "import sys, pedseg_train.data.cli as cli; print('torch' in sys.modules, cli.main.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "main"]


def test_the_module_runs_as_a_program():
    command = [sys.executable, "-m", "pedseg_train.data.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Penn-Fudan layout" in done.stdout
