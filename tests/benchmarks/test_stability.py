from __future__ import annotations

import numpy as np
import pytest

from pedseg_benchmarks.stability import count_outliers, drift, is_stable, window_length


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
