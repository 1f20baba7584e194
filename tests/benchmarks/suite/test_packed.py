"""A kit from packing to its results, with stand-ins for the commands in between."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save_file

from pedseg_benchmarks.cli import main
from pedseg_benchmarks.kit import archive
from pedseg_benchmarks.kit.archive import LISTING, read_listing
from pedseg_benchmarks.suite import pack as packing
from pedseg_benchmarks.suite import runner, unpack
from pedseg_benchmarks.suite.packed import read_tests
from pedseg_benchmarks.suite.packed_plan import PackedPlan

TINY = Path(__file__).parents[2] / "runtime" / "golden" / "tiny.onnx"
REPORT = {
    "passed": True,
    "counts": {"matched": 5, "reference": 5},
    "fields": [{"name": "scores", "max": 1e-6}, {"name": "boxes", "max": None}],
}
PROFILE = {
    "source": "fp32.onnx",
    "note": "",
    "operators": [
        {"operator": "Conv", "provider": "CPU", "calls": 9.0, "ms": 1.5, "share": 0.75},
    ],
}
FACTS = {
    "findings": [
        {"fact": "TopK", "case": "-inf", "result": "fails: a code", "milliseconds": None},
        {"fact": "3x3", "case": "half", "result": "2 TFLOP/s", "milliseconds": 0.5},
    ]
}
TESTS = (
    '<testsuites><testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase>'
    '<testcase name="c"><failure message="no&#10;more"/></testcase></testsuite></testsuites>'
)


@pytest.fixture
def bench(bench, tmp_path):
    """The same in a folder of its own."""
    folder = tmp_path / "bench"
    folder.mkdir()
    return dataclasses.replace(bench, folder=folder)


class Commands:
    """Commands of a suite that only leave their files.

    Attributes:
        failing: a word of a command -> why it fails.
        lines: of all commands so far; `environments` beside them.
    """

    def __init__(self, document):
        self.document = document
        self.failing: dict[str, str] = {}
        self.lines: list[list[str]] = []
        self.environments: list[dict[str, str]] = []

    def __call__(self, words, log, *, timeout, environment):
        self.lines.append(list(words))
        self.environments.append(dict(environment))
        log.write_text("fine\n")
        for part, reason in self.failing.items():
            if part in " ".join(words):
                log.write_text(f"Error: {reason}\n")
                return 1
        self.make(words)
        return 0

    def make(self, words):
        if words[0] == "pedseg-export":
            made = Path(words[3])
            made.parent.mkdir(exist_ok=True)
            shutil.copy(TINY, made)
        elif words[0] == "pytest":
            Path(words[-1].partition("=")[2]).write_text(TESTS)
        elif words[0] == "python":
            Path(words[3]).write_text(json.dumps(FACTS))
        elif words[1] == "run":
            Path(words[words.index("--output") + 1]).write_text(json.dumps(self.document))
        else:
            found = PROFILE if words[1] == "profile" else REPORT
            Path(words[words.index("--report") + 1]).write_text(json.dumps(found))


@pytest.fixture
def commands(monkeypatch, document):
    found = Commands(document.to_dict())
    monkeypatch.setattr(runner, "run_command", found)
    return found


def small_kit(folder):
    """Options of a small kit without wheels."""
    images = folder / "images"
    images.mkdir()
    for name in "abcd":
        pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(images / f"{name}.png")
    save_file({"w": np.ones((30, 30), np.float32)}, folder / "best.safetensors")
    return packing.PackOptions(
        kit=folder / "kit",
        cache=folder / "cache",
        checkpoint=folder / "best.safetensors",
        images=images,
        requirements=(),
        python="3.99",
        gpus=[90],
        part_bytes=2**20,
    )


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "PRESET", 0)
    return small_kit(tmp_path)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(runner, "run_command", Commands(None))
        patches.setattr(archive, "PRESET", 0)
        options = small_kit(tmp_path_factory.mktemp("packed"))
        packing.pack(options)
        unpack.unpack(options.kit)
    return options.kit


@pytest.fixture
def kit(packed, commands, tmp_path):
    """A kit that was unpacked before."""
    return shutil.copytree(packed, tmp_path / "kit")


def suite(kit, folder, *words):
    arguments = ["suite", "--packed", kit, "--output", folder, "--device", "cpu", *words]
    return CliRunner().invoke(main, [str(word) for word in arguments])


def statuses(folder):
    document = json.loads((folder / "suite.json").read_text())
    return {step["name"]: step["status"] for step in document["steps"]}


def test_a_kit_has_all_artifacts_that_could_be_exported(commands, options):
    commands.failing = {"fp16.onnx": "no half"}
    listing = packing.pack(options)
    files = [one["file"] for one in listing["artifacts"]]
    assert {"fp32.onnx", "static.onnx", "fp32.torchscript", "full-masks.onnx"} <= set(files)
    assert listing["left_out"]["fp16.onnx"] == "exit code 1: no half"
    (static,) = [words for words in commands.lines if words[3].endswith("/static.onnx")]
    assert static[-1] == "1x40x60"
    assert listing["unpacked_bytes"] > listing["packed_bytes"]
    unpacked = unpack.unpack(options.kit)
    assert unpacked.checkpoint.read_bytes() == options.checkpoint.read_bytes()
    for path in unpacked.artifacts():
        assert path.read_bytes() == TINY.read_bytes()
    assert len(list(unpacked.measured.iterdir())) == 3
    assert len(list(unpacked.shapes.iterdir())) == len(packing.SHAPES)
    assert (unpacked.folder / "source/pedseg_runtime/segmenter.py").is_file()


def test_a_variant_that_the_export_does_not_know_is_left_out(monkeypatch):
    known = [one.file for one in packing.known_variants()]
    monkeypatch.setattr(packing, "VARIANTS", (packing.Variant("new.onnx", ("--no-such", "1")),))
    assert known
    assert packing.known_variants() == []


def test_exports_of_an_earlier_run_are_used_again(commands, options):
    packing.pack(options)
    commands.lines.clear()
    packing.pack(options)
    assert commands.lines == []


def test_a_checkpoint_without_images_is_refused(options):
    with pytest.raises(packing.InputError, match="a checkpoint and --images together"):
        dataclasses.replace(options, images=None)


def test_all_steps_of_a_kit_leave_their_results_in_four_files(kit, commands, tmp_path):
    outcome = suite(kit, tmp_path / "results", "--threads", "1")
    assert outcome.exit_code == 0, outcome.output
    found = statuses(tmp_path / "results")
    assert list(found)[:3] == ["unpack", "facts", "verify-fp32.onnx"]
    assert list(found)[-1] == "compile"
    assert found.pop("single-plain") == "skipped"
    assert set(found.values()) == {"done"}
    files = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert files == ["log.txt", "suite.html", "suite.json", "suite.md"]
    text, page = ((tmp_path / "results" / f"suite.{kind}").read_text() for kind in ("md", "html"))
    for each in (text, page):
        assert "fails: a code" in each
        assert "1 passed" in each
        assert "Conv" in each
        assert "agrees" in each
    assert "$ pedseg-verify" in (tmp_path / "results" / "log.txt").read_text()
    assert not any("pedseg-export" in words for words in commands.lines)


def test_a_result_is_on_the_disk_when_the_next_step_begins(kit, commands, tmp_path):
    seen = []
    make = commands.make

    def look(words):
        path = tmp_path / "results" / "suite.json"
        seen.append(set(json.loads(path.read_text())["documents"]) if path.exists() else set())
        make(words)

    commands.make = look
    suite(kit, tmp_path / "results")
    assert [len(each) for each in seen] == list(range(len(seen)))


def test_a_step_that_was_cut_short_keeps_what_it_wrote(kit, commands, tmp_path, monkeypatch):
    def slow(words, log, *, timeout, environment):
        commands(words, log, timeout=timeout, environment=environment)
        return None if "--limits" in words else 0

    monkeypatch.setattr(runner, "run_command", slow)
    suite(kit, tmp_path / "results")
    found = statuses(tmp_path / "results")
    assert found["single"] == "dropped"
    assert found["single-plain"] == "done"
    document = json.loads((tmp_path / "results" / "suite.json").read_text())
    assert {"single", "single-plain"} <= set(document["documents"])
    (reason,) = [one["reason"] for one in document["steps"] if one["name"] == "single"]
    assert reason.endswith("what it wrote until then is used")


def test_what_an_earlier_run_left_is_no_result_of_a_step_that_fails(kit, commands, tmp_path):
    suite(kit, tmp_path / "first", "--threads", "1")
    commands.failing = {"single": "no more"}
    suite(kit, tmp_path / "second", "--threads", "2")
    document = json.loads((tmp_path / "second" / "suite.json").read_text())
    assert "shapes" in document["documents"]
    assert "single" not in document["documents"]


def test_an_artifact_that_cannot_be_verified_is_no_contender(kit, commands, tmp_path):
    commands.failing = {"verify-fp16.onnx": "no such kernel"}
    assert suite(kit, tmp_path / "results").exit_code == 1
    (single,) = [words for words in commands.lines if words[-1].endswith("/single.json")]
    names = [Path(word).name for word in single[3 : single.index("--images")]]
    assert "fp32.onnx" in names
    assert "fp16.onnx" not in names
    assert "full-masks.onnx" not in names, "it does other work"
    assert "no such kernel" in (tmp_path / "results" / "suite.md").read_text()


def test_a_small_budget_names_what_it_leaves_out(kit, commands, tmp_path):
    outcome = suite(kit, tmp_path / "results", "--budget", "0.3")
    assert outcome.exit_code == 1
    assert set(statuses(tmp_path / "results").values()) <= {"done", "dropped", "skipped"}
    assert "Dropped: facts, verify" in (tmp_path / "results" / "suite.md").read_text()
    assert "--packed" in outcome.stderr


def test_commands_find_the_packed_libraries_first(kit, commands, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "own")
    monkeypatch.setattr(unpack.wheels, "cuda_folders", lambda: [Path("cu13/lib")])
    suite(kit, tmp_path / "results")
    environment = commands.environments[-1]
    first, *rest = environment["PYTHONPATH"].split(os.pathsep)
    assert first == str(kit / "unpacked" / "site")
    assert rest == ["own"]
    assert environment["LD_LIBRARY_PATH"].split(os.pathsep)[0] == "cu13/lib"
    assert environment["PEDSEG_KIT"] == str(kit / "unpacked")


def test_a_kit_is_unpacked_once_and_again_after_it_was_packed_anew(kit):
    mark = unpack.unpack(kit).folder / "mark"
    mark.touch()
    unpack.unpack(kit)
    assert mark.exists()
    listing = read_listing(kit)
    (kit / LISTING).write_text(json.dumps({**listing, "created": "later"}))
    unpack.unpack(kit)
    assert not mark.exists()


def test_a_kit_for_another_python_is_refused(kit):
    listing = read_listing(kit)
    listing["wheels"]["files"] = ["x-1-cp399.whl"]
    (kit / LISTING).write_text(json.dumps(listing))
    with pytest.raises(packing.InputError, match=r"found one for 3\.99"):
        unpack.unpack(kit)


def test_without_a_gpu_cuda_is_refused(kit, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    outcome = CliRunner().invoke(main, ["suite", "--packed", str(kit)])
    assert outcome.exit_code == 1
    assert "sees 0 GPUs" in outcome.stderr


def test_without_a_kit_device_and_output_are_needed():
    assert "Missing option '--device'" in CliRunner().invoke(main, ["suite"]).output


def test_counts_and_failures_are_read_from_a_junit_report():
    assert read_tests(TESTS) == {
        "passed": 1,
        "failed": 1,
        "skipped": 1,
        "failures": [{"name": "c", "reason": "no"}],
    }


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_command_of_a_kit_is_one_that_pedseg_understands(kit, device, tmp_path):
    plan = PackedPlan(unpack.unpack(kit), device, tmp_path, threads=1)
    done = frozenset(step.name for step in plan.steps())
    seen: set[str] = set()
    for step in plan.steps():
        assert step.instead_of in seen | {""}
        seen.add(step.name)
        program, *words = step.command(done)
        if program == "pytest":
            continue
        name = runner.PROGRAMS.get(program) or words[1]
        words = words if program in runner.PROGRAMS else words[2:]
        parsed = CliRunner().invoke(import_module(name).main, [*words, "--no-such-option"])
        assert "--no-such-option" in parsed.output, parsed.output


def test_on_a_gpu_all_of_a_full_size_kit_fits_eight_minutes(kit, tmp_path):
    steps = PackedPlan(unpack.unpack(kit), "cuda:0", tmp_path).steps()
    assert sum(step.seconds for step in steps if not step.instead_of) < 8 * 60 - 30
