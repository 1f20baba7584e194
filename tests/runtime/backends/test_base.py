from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import Segmenter
from pedseg_runtime.backends.base import MemoryRelease, trim_heap

SMALL, USUAL, LARGE, HUGE = 10**5, 2 * 10**6, 12 * 10**6, 48 * 10**6


def released(runs: list[int], **options: object) -> list[int]:
    """The positions of runs that give their memory back."""
    policy = MemoryRelease(2**24, **options)
    return [index for index, pixels in enumerate(runs) if policy.after(pixels)]


def test_small_runs_keep_their_memory() -> None:
    assert released(50 * [SMALL]) == []


def test_an_unusually_large_run_gives_it_back_at_once() -> None:
    assert released([SMALL, SMALL, LARGE, SMALL, SMALL]) == [2]


def test_usual_runs_keep_it_however_large() -> None:
    assert released(20 * [LARGE]) == [0]
    assert released([USUAL, 3 * USUAL // 2] * 10) == [0]


def test_what_is_no_longer_usual_is_given_back_soon() -> None:
    assert released(3 * [LARGE] + 9 * [SMALL]) == [0, 6]


def test_runs_beyond_the_limit_always_give_it_back() -> None:
    assert released(4 * [HUGE]) == [0, 1, 2, 3]
    assert released([SMALL, HUGE, LARGE], adapts=False) == [1]


def test_all_runs_can_be_made_to() -> None:
    assert released(3 * [SMALL], always=True) == [0, 1, 2]


def outgrown(runs: list[int], **options: object) -> list[int]:
    """The positions of runs before which held memory is given back."""
    policy = MemoryRelease(2**24, **options)
    return [
        index
        for index, pixels in enumerate(runs)
        if (policy.before(pixels), policy.after(pixels))[0]
    ]


def test_memory_that_is_too_small_is_given_back_before_the_run() -> None:
    assert outgrown([USUAL, USUAL, 2 * USUAL, HUGE, HUGE]) == [2, 3]
    assert outgrown([USUAL, USUAL, USUAL + 1000]) == [], "its blocks hold it: powers of two"
    assert outgrown([LARGE, LARGE, USUAL, LARGE]) == []
    assert outgrown([SMALL, SMALL, LARGE, HUGE]) == [], "nothing worth it is held"
    assert outgrown([USUAL, USUAL, HUGE], adapts=False) == []
    assert outgrown([USUAL, USUAL, HUGE], always=True) == []


def test_other_c_libraries_have_nothing_to_trim(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(malloc_trim=asked.append))
    trim_heap()
    assert asked == [0]
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    trim_heap()
    assert asked == [0]


def resident() -> int:
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_large_image_leaves_no_memory_behind(tiny_path: Path, street: NDArray[np.uint8]) -> None:
    with Segmenter.load(tiny_path, device="cpu") as segmenter:
        segmenter(street)
        image = np.zeros((4000, 5000, 3), np.uint8)
        before = resident()
        segmenter(image)
        assert resident() < before + 30
