"""What a machine with torch, but without pycocotools, can do all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = (
    "pedseg_benchmarks.commands.run",
    "pedseg_benchmarks.commands.suite",
    "pedseg_benchmarks.commands.profile",
    "pedseg_export.commands.export",
    "pedseg_export.commands.verify",
)


@pytest.mark.slow
def test_commands_that_measure_no_ap_start_without_pycocotools():
    code = "import sys, importlib; sys.modules['pycocotools'] = None; "
    code += f"[importlib.import_module(name).main for name in {COMMANDS}]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
