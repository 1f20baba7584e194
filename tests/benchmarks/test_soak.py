from __future__ import annotations

import json
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pedseg_benchmarks import soak
from pedseg_benchmarks.memory import resident_bytes
from pedseg_runtime import InputError, Segmenter

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / "runtime" / "golden" / "tiny.onnx"
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads memory from Linux's /proc"
)


def test_sizes_differ_and_the_largest_comes_first() -> None:
    sizes = soak.random_sizes(300, largest=64)
    assert len(set(sizes)) == 300
    assert sizes[0] == (64, 64)
    assert min(min(size) for size in sizes) >= 16
    assert max(max(size) for size in sizes) == 64
    assert soak.random_sizes(300, largest=64) == sizes
    with pytest.raises(InputError, match="at most 4 of 16 to 17"):
        soak.random_sizes(5, largest=17)


def test_too_few_sizes_are_refused() -> None:
    with (
        Segmenter.load(TINY, device="cpu") as segmenter,
        pytest.raises(InputError, match="at least 100"),
    ):
        soak.soak(segmenter, sizes=[(16, 16)], calls=1)


def result(**changed: int) -> soak.Soak:
    figures = {"loaded": 50, "first": 100, "after_sizes": 103, "after_calls": 104, "closed": 60}
    return soak.Soak(provider="p", sizes=100, calls=5, **(figures | changed))


def test_growth_is_judged_at_its_highest() -> None:
    assert result()
    assert not result(after_calls=106)
    assert not result(after_sizes=106, after_calls=100)
    assert result(after_sizes=90, after_calls=80).growth < 0


@needs_proc
def test_memory_that_is_held_is_seen() -> None:
    """A mapping of its own: what is allocated may be memory that this process has held before."""
    block = mmap.mmap(-1, 64 << 20)
    before = resident_bytes()
    pages = np.frombuffer(block, np.uint8)
    pages[:] = 1
    assert resident_bytes() - before > 60 << 20


@needs_proc
def test_the_script_says_what_it_measured(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    command = [sys.executable, "-m", "pedseg_benchmarks.soak", str(TINY), "--sizes", "100"]
    options = ["--calls", "5", "--largest", "40", "--output", str(file)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert done.returncode == (0 if figures["passed"] else 1), done.stderr
    assert figures["provider"] == "CPUExecutionProvider"
    assert (figures["sizes"], figures["calls"]) == (100, 5)
    assert "after 100 sizes" in done.stdout
