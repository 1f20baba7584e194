from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pedseg_benchmarks.statistics import (
    count_outliers,
    drift,
    is_stable,
    speedup_over,
    summarise,
    window_length,
)

timings = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    elements=st.floats(1e-4, 10, allow_nan=False),
)


def test_percentiles_interpolate_between_ranks_and_are_in_milliseconds():
    summary = summarise(np.arange(1, 102).reshape(1, 101) / 1e3)
    assert (summary.count, summary.min, summary.max) == (101, 1, 101)
    assert (summary.p50, summary.p90, summary.p95, summary.p99) == pytest.approx((51, 91, 96, 100))
    assert summary.mean == pytest.approx(51)
    assert summary.images_per_second == pytest.approx(1000 / 51)
    assert summarise(np.array([0.001, 0.002])).p90 == pytest.approx(1.9)


def test_one_terrible_call_is_not_clipped_away():
    seconds = np.full(100, 0.01)
    seconds[57] = 9.0
    summary = summarise(seconds)
    assert summary.max == pytest.approx(9000)
    assert summary.p99 > 10
    assert summary.std > 800


@settings(deadline=None)
@given(timings)
def test_percentiles_are_ordered_and_inside_the_range(seconds):
    summary = summarise(seconds)
    ranks = [summary.min, summary.p50, summary.p90, summary.p95, summary.p99, summary.max]
    assert all(low <= high * (1 + 1e-12) for low, high in itertools.pairwise(ranks))


@settings(deadline=None)
@given(timings, st.floats(0.25, 4))
def test_a_constant_factor_is_found_exactly_and_without_doubt(seconds, factor):
    found = speedup_over(seconds, seconds / factor, resamples=50)
    assert [found.low, found.median, found.high] == pytest.approx([factor] * 3)


def test_drift_that_hits_both_alike_does_not_widen_the_interval():
    slowing = np.linspace(1, 3, 40)[:, None] * np.array([1.0, 2.0])
    noise = np.random.default_rng(0).uniform(0.99, 1.01, slowing.shape)
    found = speedup_over(2 * slowing * noise, slowing)
    assert found.low < found.median < found.high
    assert found.high - found.low < 0.02
    assert found.median == pytest.approx(2, abs=0.01)


def test_the_interval_is_the_same_every_time():
    generator = np.random.default_rng(1)
    eager, other = generator.uniform(1, 2, (20, 3)), generator.uniform(1, 2, (20, 3))
    assert speedup_over(eager, other) == speedup_over(eager, other)


def test_three_windows_fit_into_the_rounds_that_were_asked_for():
    assert [window_length(rounds) for rounds in (1, 3, 5, 10, 20, 25, 1000)] == [
        1,
        1,
        1,
        2,
        4,
        5,
        5,
    ]


def test_windows_agree_within_the_percentage():
    rounds = np.repeat([1.0, 1.04, 1.02], 3)[:, None]
    assert is_stable(rounds, window=3, percent=5)
    assert not is_stable(rounds, window=3, percent=3)
    assert not is_stable(rounds[1:], window=3, percent=50)


def test_only_the_last_windows_count():
    rounds = np.concatenate([np.full(10, 9.0), np.full(9, 1.0)])[:, None]
    assert is_stable(rounds, window=3, percent=1)
    assert not is_stable(rounds[:-2], window=3, percent=1)


def test_one_slow_round_in_a_window_does_not_unsettle_it():
    rounds = np.ones((9, 2))
    rounds[4] = 10
    assert is_stable(rounds, window=3, percent=1)


def test_noise_of_the_usual_kind_has_hardly_an_outlier():
    noise = np.random.default_rng(0).normal(1, 0.02, (200, 3))
    assert count_outliers(noise) == 0
    noise[17, 1] = 1.5
    assert count_outliers(noise) == 1


def test_slow_images_are_no_outliers_beside_quick_ones():
    assert count_outliers(np.tile([0.1, 5.0], (20, 1))) == 0


def test_noise_is_no_drift_and_a_trend_is_one():
    generator = np.random.default_rng(3)
    noise = generator.normal(1, 0.02, (30, 2))
    calm, rising = drift(noise), drift(noise * np.linspace(1, 1.3, 30)[:, None])
    assert calm.p_value > 0.05
    assert abs(calm.percent) < 3
    assert rising.p_value < 1e-6
    assert rising.percent == pytest.approx(30, abs=4)


def test_drift_is_found_in_most_noisy_runs_and_rarely_where_there_is_none():
    generator = np.random.default_rng(5)
    trend = np.linspace(1, 1.05, 20)[:, None]
    noise = generator.normal(1, 0.02, (200, 20, 1))
    alarms = sum(drift(one).p_value < 0.05 for one in noise)
    found = sum(drift(one * trend).p_value < 0.05 for one in noise)
    assert alarms < 20
    assert found > 150


def test_two_rounds_have_no_trend():
    assert drift(np.ones((2, 3))) is None
