"""The whole suite with stand-ins for its commands: order, report, CUDA and carried models."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from pedseg_benchmarks.cli import main
from pedseg_benchmarks.suite import runner
from pedseg_benchmarks.suite.layout import Layout
from pedseg_benchmarks.suite.plan import VARIANTS, Plan
from pedseg_runtime.errors import InputError


@pytest.fixture
def suite(tmp_path, monkeypatch, document):
    """Runs `pedseg-bench suite` with commands that only leave their files."""

    class Suite:
        folder = tmp_path / "suite"

        def __init__(self):
            self.lines: list[list[str]] = []
            self.failing: dict[str, str] = {}

        def command(self, words, log, *, timeout, environment):
            self.lines.append(list(words))
            for part, reason in self.failing.items():
                if part in words:
                    log.write_text(f"Error: {reason}\n")
                    return 1
            log.write_text("fine\n")
            made = target(words)
            made.parent.mkdir(parents=True, exist_ok=True)
            is_part = words[:2] == ["pedseg-bench", "run"]
            made.write_text(json.dumps(document.to_dict()) if is_part else "made")
            return 0

        def __call__(self, *options):
            arguments = ["suite", "--output", self.folder, *options]
            return CliRunner().invoke(main, [str(word) for word in arguments])

    found = Suite()
    monkeypatch.setattr(runner, "run_command", found.command)
    return found


def target(words):
    """The file that a command of the suite makes."""
    if words[0] == "pedseg-data":
        return Path(words[2]) / "synthesis.json"
    if words[0] == "python":
        return Path(words[3])
    option = "--report" if "--report" in words else "--output"
    path = Path(words[words.index(option) + 1])
    return path / "best.safetensors" if words[0] == "pedseg-train" else path


def statuses(suite):
    document = json.loads((suite.folder / "suite.json").read_text())
    return {step["name"]: step["status"] for step in document["steps"]}


def test_everything_is_made_measured_and_reported(suite):
    outcome = suite("--device", "cpu")
    assert outcome.exit_code == 0, outcome.output
    assert set(statuses(suite).values()) == {"done"}
    document = json.loads((suite.folder / "suite.json").read_text())
    assert list(document["parts"]) == ["bench-full", "bench-small", "serve-small", "surface-full"]
    assert all((suite.folder / path).is_file() for path in document["parts"].values())
    page = (suite.folder / "suite.md").read_text()
    assert "## tiny, 1 image, on cpu" in page
    assert "| export-small-int8.onnx | done |" in page
    web = (suite.folder / "suite.html").read_text()
    assert [web.count(f' id="{part}">') for part in document["parts"]] == [1] * 4
    assert "fp32.onnx" in web
    assert "pedseg-export" in web


def test_a_benchmark_gets_the_artifacts_that_were_made(suite):
    suite.failing = {"pt2": "torch 2.11 cannot trace the graph"}
    outcome = suite("--device", "cpu")
    assert outcome.exit_code == 1
    assert "export-full-fp32.pt2: failed" in outcome.stderr
    assert "torch 2.11 cannot trace the graph" in (suite.folder / "suite.md").read_text()
    (bench,) = [words for words in suite.lines if "bench-full.json" in " ".join(words)]
    names = [Path(word).name for word in bench[3:] if "models" in word]
    assert names == ["fp32.onnx", "int8.onnx", "fp32.torchscript"]
    assert statuses(suite)["bench-full"] == "done"


def test_a_second_run_does_only_what_is_left(suite):
    suite.failing = {"torchscript": "out of memory"}
    suite("--device", "cpu")
    suite.failing, suite.lines = {}, []
    assert suite("--device", "cpu").exit_code == 0
    assert [words[0] for words in suite.lines].count("pedseg-export") == 2
    again = statuses(suite)
    assert again["data"] == again["train-small"] == "reused"
    assert again["bench-full"] == "done"  # it has more artifacts now
    suite.lines = []
    suite("--device", "cpu")
    assert suite.lines == []


def test_a_small_budget_drops_steps_by_name(suite):
    outcome = suite("--device", "cpu", "--budget", "0.05")
    assert outcome.exit_code == 1  # no part was measured
    assert set(statuses(suite).values()) == {"dropped", "skipped"}
    assert "about 25 s are needed, 3 s were left" in (suite.folder / "suite.md").read_text()
    assert "--budget 0.05" in outcome.stderr


def test_on_cuda_the_full_network_is_trained_and_halves_are_exported(suite, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    outcome = suite("--device", "cuda")
    assert outcome.exit_code == 0, outcome.output
    found = statuses(suite)
    assert "export-full-fp16.onnx" in found
    assert "export-full-int8.onnx" not in found
    assert found["train-full"] == "done"
    for words in suite.lines:
        if words[0] in ("pedseg-export", "pedseg-train", "pedseg-verify", "pedseg-bench"):
            assert words[words.index("--device") + 1] == "cuda:0"
    benches = [words for words in suite.lines if words[:2] == ["pedseg-bench", "run"]]
    assert "tensorrt" in " ".join(benches[0])


def test_without_a_gpu_cuda_is_refused_at_once(suite, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    outcome = suite("--device", "cuda")
    assert outcome.exit_code == 1
    assert "sees 0 GPUs" in outcome.stderr
    assert not suite.folder.exists()


def test_models_of_another_machine_are_taken_over(suite, tmp_path):
    suite("--device", "cpu")
    first, suite.folder, suite.lines = suite.folder, tmp_path / "second", []
    for path in (Layout(first).measured_image, Layout(first).calibration("full") / "street01.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a street")
    suite.failing = {"onnx": "torch 2.11 cannot trace the graph"}
    outcome = suite("--device", "cpu", "--artifacts", first)
    assert outcome.exit_code == 0, outcome.output
    found = statuses(suite)
    assert found["export-full-fp32.onnx"] == found["train-small"] == "carried over"
    assert found["data"] == found["bench-full"] == "done"
    assert not any(words[0] in ("pedseg-export", "pedseg-train") for words in suite.lines)
    assert Layout(suite.folder).measured_image.read_text() == "a street"
    assert [path.name for path in Layout(suite.folder).calibration("full").iterdir()] == [
        "street01.png"
    ]


def test_a_folder_without_models_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"runs/small/best\.safetensors"):
        Layout(tmp_path / "suite").take_over(tmp_path / "other")


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_steps_need_only_what_comes_before_them(device, tmp_path):
    seen: set[str] = set()
    for step in Plan(Layout(tmp_path), device).steps():
        assert set(step.needs) <= seen, step.name
        assert step.name not in seen
        seen.add(step.name)
    assert len({variant.file for variant in VARIANTS}) == len(VARIANTS)


def test_the_plan_fits_half_an_hour_on_two_cores(tmp_path):
    assert sum(step.seconds for step in Plan(Layout(tmp_path), "cpu").steps()) < 30 * 60


@pytest.mark.slow
def test_every_command_of_the_plan_is_one_that_pedseg_understands(tmp_path):
    """Parsing stops at the first missing file: until then every option was understood."""
    for device in ("cpu", "cuda:0"):
        done = frozenset(step.name for step in Plan(Layout(tmp_path), device).steps())
        for step in Plan(Layout(tmp_path), device).steps():
            program, *words = step.command(done)
            name = runner.PROGRAMS.get(program) or words[1]
            words = words if program in runner.PROGRAMS else words[2:]
            command = import_module(name).main
            parsed = CliRunner().invoke(command, [*words, "--no-such-option"])
            assert "--no-such-option" in parsed.output, parsed.output
