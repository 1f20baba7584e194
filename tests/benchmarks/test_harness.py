from __future__ import annotations

import numpy as np
import pytest

from pedseg_benchmarks import harness
from pedseg_benchmarks.harness import run_rounds, timed_call, warm_up
from pedseg_runtime.errors import InputError


def test_the_timed_region_starts_and_ends_with_an_idle_device(bench, images):
    timing = timed_call(bench.context("a", 0.25), images[:1])
    assert bench.journal == ["sync", "a", "sync"]
    assert timing.seconds == pytest.approx(0.25)
    assert timing.device_seconds is None


class Slow:
    """A device that is busy for a second after a call was handed to it, and has its own clock."""

    def __init__(self, clock):
        self.clock, self.pending = clock, 0.0

    def synchronise(self):
        self.clock.advance(self.pending)
        self.pending = 1.0

    def mark(self):
        return self.clock()

    def elapsed(self, start, end):
        return end - start + 1.0

    def reset_peak_memory(self): ...

    def peak_memory(self): ...


def test_waiting_for_the_device_after_the_call_counts(bench, images):
    timing = timed_call(bench.context("a", 0.0, Slow(bench.clock)), images[:1])
    assert timing.seconds == pytest.approx(1.0)


def test_the_device_s_own_times_stand_beside_the_host_s(bench, images):
    workers = [bench.worker(bench.contender(name), Slow(bench.clock)) for name in "ab"]
    rounds = run_rounds(workers, images, rounds=2)
    assert rounds.device_seconds.shape == rounds.seconds.shape == (2, 2, 3)
    np.testing.assert_allclose(rounds.device_seconds, 1.01)


def test_the_order_of_contenders_rotates_from_image_to_image(bench, images):
    workers = [bench.worker(bench.contender(name)) for name in "abc"]
    bench.journal.clear()
    run_rounds(workers, images, rounds=2)
    order = [entry for entry in bench.journal if entry != "sync"]
    assert "".join(order) == "abcbcacababcbcacab"


def test_samples_land_at_their_contender_round_and_image(bench, images):
    slow = bench.contender("slow", lambda call: 1.0 + call)
    fast = bench.contender("fast", lambda call: 0.1 + 0.01 * call)
    ticks: list[int] = []
    rounds = run_rounds(
        [bench.worker(slow), bench.worker(fast)], images, rounds=2, advance=lambda: ticks.append(1)
    )
    assert rounds.seconds.shape == (2, 2, 3)
    np.testing.assert_allclose(rounds.seconds[0], [[1, 2, 3], [4, 5, 6]])
    expected = [[0.1, 0.11, 0.12], [0.13, 0.14, 0.15]]
    np.testing.assert_allclose(rounds.seconds[1], expected, atol=1e-9)
    assert rounds.device_seconds is None
    assert len(ticks) == 12


def test_rounds_so_far_are_handed_over_at_once_and_then_from_time_to_time(
    bench, images, monkeypatch
):
    def saved(rounds):
        found: list[int] = []
        run_rounds(
            [bench.worker(bench.contender("a"))],
            images,
            rounds=rounds,
            save=lambda so_far: found.append(so_far.seconds.shape[1]),
        )
        return found

    assert saved(3) == [1], "three rounds take less than ten seconds"
    monkeypatch.setattr(harness, "SAVING", -1.0)
    assert saved(3) == [1, 2, 3]


def test_rounds_end_when_all_are_stable(bench, images):
    """One settles at once, the other after 20 of its calls; windows are 5 rounds of 3 images."""
    calm = bench.contender("calm", 0.1)
    late = bench.contender("late", lambda call: 0.5 if call < 20 else 0.1)
    rounds = run_rounds([bench.worker(calm), bench.worker(late)], images, rounds=50, stability=5)
    # 7 slow rounds, of which a window forgives 2 of 5: its median is that of the other 3.
    assert rounds.seconds.shape == (2, 5 + 15, 3)
    assert rounds.stable == [True, True]


def test_rounds_that_never_settle_are_all_run_and_called_unstable(bench, images):
    calm = bench.contender("calm", 0.1)
    wild = bench.contender("wild", lambda call: 0.1 * 1.05**call)
    rounds = run_rounds([bench.worker(calm), bench.worker(wild)], images, rounds=20, stability=5)
    assert rounds.seconds.shape == (2, 20, 3)
    assert rounds.stable == [True, False]


def test_without_a_limit_all_rounds_are_run(bench, images):
    rounds = run_rounds([bench.worker(bench.contender("calm"))], images, rounds=30)
    assert rounds.seconds.shape == (1, 30, 3)
    assert rounds.stable == [True]


def test_the_first_call_of_every_size_is_kept_apart(bench, images):
    context = bench.context("a", lambda call: 5.0 if call in (0, 3) else 0.1)
    warm = warm_up(context, images, 3)
    assert warm.first_of_size == {(10, 20): pytest.approx(5.0), (12, 20): pytest.approx(5.0)}
    assert warm.first_call == pytest.approx(5.0)
    assert context.model.calls == 6


@pytest.mark.parametrize("calls", [0, -1])
def test_timing_without_warm_up_is_refused(bench, images, calls):
    with pytest.raises(InputError, match="at least one call"):
        warm_up(bench.context("a"), images, calls)


def test_no_rounds_are_refused(bench, images):
    with pytest.raises(InputError, match="rounds"):
        run_rounds([bench.worker(bench.contender("a"))], images, rounds=0)
