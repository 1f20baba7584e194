from __future__ import annotations

import numpy as np
import pytest

from pedseg_benchmarks.harness import run_rounds, timed_call, warm_up
from pedseg_runtime.errors import InputError


def test_the_timed_region_starts_and_ends_with_an_idle_device(bench, images):
    seconds = timed_call(bench.loaded("a", 0.25), images[0], bench.device, bench.clock)
    assert bench.journal == ["sync", "a", "sync"]
    assert seconds == pytest.approx(0.25)


def test_waiting_for_the_device_after_the_call_counts(bench, images):
    class Slow:
        """A device that is busy for a second after a call was handed to it."""

        def __init__(self):
            self.pending = 0.0

        def synchronise(self):
            bench.clock.advance(self.pending)
            self.pending = 1.0

        def reset_peak_memory(self): ...

        def peak_memory(self): ...

    assert timed_call(bench.loaded("a", 0.0), images[0], Slow(), bench.clock) == pytest.approx(1.0)


def test_the_order_of_contenders_rotates_from_image_to_image(bench, images):
    contenders = [bench.loaded(name) for name in "abc"]
    run_rounds(contenders, images, rounds=2, device=bench.device, clock=bench.clock)
    order = [entry for entry in bench.journal if entry != "sync"]
    assert "".join(order) == "abcbcacababcbcacab"


def test_samples_land_at_their_contender_round_and_image(bench, images):
    contenders = [
        bench.loaded("slow", lambda call: 1.0 + call),
        bench.loaded("fast", lambda call: 0.1 + 0.01 * call),
    ]
    ticks: list[int] = []
    seconds = run_rounds(
        contenders,
        images,
        rounds=2,
        device=bench.device,
        clock=bench.clock,
        advance=lambda: ticks.append(1),
    )
    assert seconds.shape == (2, 2, 3)
    np.testing.assert_allclose(seconds[0], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(seconds[1], [[0.1, 0.11, 0.12], [0.13, 0.14, 0.15]], atol=1e-9)
    assert len(ticks) == 12


def test_the_first_call_of_every_size_is_kept_apart(bench, images):
    runner = bench.loaded("a", lambda call: 5.0 if call in (0, 3) else 0.1)
    first = warm_up(runner, images, calls=3, device=bench.device, clock=bench.clock)
    assert first == {(10, 20): pytest.approx(5.0), (12, 20): pytest.approx(5.0)}
    assert runner.calls == 6


@pytest.mark.parametrize("calls", [0, -1])
def test_timing_without_warm_up_is_refused(bench, images, calls):
    with pytest.raises(InputError, match="at least one call"):
        warm_up(bench.loaded("a"), images, calls=calls, device=bench.device)


def test_no_rounds_are_refused(bench, images):
    with pytest.raises(InputError, match="rounds"):
        run_rounds([bench.loaded("a")], images, rounds=0, device=bench.device)
