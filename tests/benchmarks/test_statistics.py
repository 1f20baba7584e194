from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pedseg_benchmarks.statistics import speedup_over, summarise

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
    drift = np.linspace(1, 3, 40)[:, None] * np.array([1.0, 2.0])
    noise = np.random.default_rng(0).uniform(0.99, 1.01, drift.shape)
    found = speedup_over(2 * drift * noise, drift)
    assert found.low < found.median < found.high
    assert found.high - found.low < 0.02
    assert found.median == pytest.approx(2, abs=0.01)


def test_the_interval_is_the_same_every_time():
    generator = np.random.default_rng(1)
    eager, other = generator.uniform(1, 2, (20, 3)), generator.uniform(1, 2, (20, 3))
    assert speedup_over(eager, other) == speedup_over(eager, other)
