"""TF32 is off while somebody computes in float32, and then as it was."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pedseg_runtime.backends.float32 import float32_only

torch: Any = pytest.importorskip("torch")


def settings() -> tuple[Any, ...]:
    """What torch says; it refuses to read the older settings where the newer contradict them."""

    def older(place: Any) -> bool | None:
        try:
            return bool(place.allow_tf32)
        except RuntimeError:
            return None

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    newer = [place.fp32_precision for place in (matmul, cudnn.conv, cudnn.rnn)]
    return (older(matmul), older(cudnn), *newer)


@pytest.fixture
def as_before() -> Iterator[None]:
    """Restores the settings that a test of this module changes."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    older = [(place, place.allow_tf32) for place in (matmul, cudnn)]
    newer = [(place, place.fp32_precision) for place in (matmul, cudnn.conv, cudnn.rnn)]
    yield
    torch.backends.fp32_precision = "none"
    for place, allowed in older:
        place.allow_tf32 = allowed
    for place, precision in newer:
        place.fp32_precision = precision


def set_general() -> None:
    torch.backends.fp32_precision = "tf32"


def set_convolutions() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"


def set_older() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


@pytest.mark.parametrize("choose", [lambda: None, set_general, set_convolutions, set_older])
def test_whatever_a_program_chose_is_off_inside_and_back_outside(
    as_before: None, choose: Any
) -> None:
    choose()
    before = settings()
    with contextlib.suppress(ZeroDivisionError), float32_only(torch):
        assert settings() == (False, False, "ieee", "ieee", "ieee")
        raise ZeroDivisionError
    assert settings() == before


def test_a_thread_that_ends_first_leaves_the_other_in_float32() -> None:
    before = settings()
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with float32_only(torch):
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    with float32_only(torch):
        thread.start()
        assert inside.wait(10)
    assert settings()[:2] == (False, False)
    done.set()
    thread.join()
    assert settings() == before
