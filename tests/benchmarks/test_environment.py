from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from pedseg_benchmarks import environment
from pedseg_benchmarks.environment import fingerprint, torch_threads
from pedseg_runtime.backends.float32 import float32_only


def test_the_fingerprint_is_json_and_names_what_matters():
    found = json.loads(json.dumps(fingerprint(threads=2), allow_nan=False))
    assert found["cpu"]["usable_cores"] >= 1
    assert found["memory_gib"] > 0
    assert found["versions"]["torch"] == torch.__version__
    assert found["threads"]["onnxruntime"] == 2
    assert found["tf32"]["onnxruntime"] is False
    assert "CPUExecutionProvider" in found["onnxruntime_providers"]


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
@pytest.mark.parametrize(
    ("later", "busy"),
    [
        ("150 0 0 150 0 0 0 0 0 0", 0.5),
        ("100 0 0 280 20 0 0 0 0 0", 0.0),
        ("100 0 0 100 0 0 0 200 0 0", 1.0),
        ("300 0 0 100 0 0 0 0 200 0", 1.0),
        ("100 0 0 100 0 0 0 0 0 0", 0.0),
    ],
    ids=["half", "waiting for a disk", "stolen by the host", "a guest's", "no tick"],
)
def test_busy_cores_are_what_others_use_of_ours(monkeypatch, later, busy):
    idle, beyond = "100 0 0 100 0 0 0 0 0 0", "900 0 0 0 0 0 0 0 0 0"
    answers = iter(
        [
            f"cpu {idle}\ncpu0 {idle}\ncpu1 {idle}\ncpu2 {idle}\nintr 5 4 3",
            f"cpu {beyond}\ncpu0 {later}\ncpu1 {later}\ncpu2 {beyond}\nintr 5 4 3",
        ]
    )
    monkeypatch.setattr(environment.Path, "read_text", lambda *_args, **_options: next(answers))
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(environment, "LOOK_SECONDS", 0)
    assert environment._busy_cores() == 2 * busy


def test_the_fingerprint_names_no_user_and_no_path():
    text = json.dumps(fingerprint(threads=1))
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text


def test_tf32_is_off_inside_and_as_before_outside():
    before = torch.backends.cudnn.allow_tf32
    with float32_only(torch):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert fingerprint(threads=1)["tf32"]["torch_cudnn"] is False
    assert torch.backends.cudnn.allow_tf32 == before


def test_torch_threads_are_set_inside_and_as_before_outside():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.fixture
def smi(monkeypatch):
    """Let nvidia-smi answer with the given text, or fail with the given error."""

    def answer(reply):
        def run(command, **_options):
            if isinstance(reply, Exception):
                raise reply
            return subprocess.CompletedProcess(command, 0, stdout=reply)

        monkeypatch.setattr(environment.shutil, "which", lambda _name: "nvidia-smi")
        monkeypatch.setattr(environment.subprocess, "run", run)
        return environment.fingerprint(threads=1)["gpu"]

    return answer


def test_nvidia_smi_tells_driver_and_clocks(smi):
    gpu = smi("NVIDIA L4, 580.1, 1200 MHz, 2040 MHz, 72.00 W, 41\n")
    assert gpu["driver_version"] == "580.1"
    assert gpu["clocks.max.sm"] == "2040 MHz"


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch itself sees a GPU")
@pytest.mark.parametrize(
    "reply",
    ["No devices were found\n", subprocess.TimeoutExpired("nvidia-smi", 20), OSError("gone")],
    ids=["no GPU", "hangs", "broken"],
)
def test_an_nvidia_smi_without_an_answer_means_no_gpu(smi, reply):
    assert smi(reply) is None
