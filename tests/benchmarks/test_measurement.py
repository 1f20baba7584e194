from __future__ import annotations

import dataclasses

import pytest

from pedseg_benchmarks.contenders import NotRunError


@pytest.fixture
def run(bench, images):
    def run(*contenders, **options):
        return bench.measure(contenders, images, **options)

    return run


def test_a_faster_contender_that_agrees_gets_its_numbers(bench, run):
    (eager, quick), missing, _ = run(
        bench.contender("eager", 0.2), bench.contender("quick.onnx", 0.1)
    )
    assert not missing
    assert (eager.speedup, eager.parity, eager.judged_by, eager.passed) == (
        None,
        None,
        "truth",
        True,
    )
    assert quick.parity["passed"]
    assert quick.judged_by == "parity"
    assert quick.latency.p50 == pytest.approx(100)
    assert quick.latency.count == 12
    assert quick.speedup.median == pytest.approx(2)
    assert quick.detections == [1, 1, 1]
    assert [len(row) for row in quick.samples_ms] == [3, 3, 3, 3]
    assert quick.provider == "fake:quick.onnx"
    assert quick.size_bytes == len("quick.onnx")


def test_what_happens_before_the_rounds_is_not_in_the_samples(bench, run):
    """Loading 0.5 s; first call 3 s, first of the second size 2 s, another 1 s per warm-up call."""
    # Warm-up is calls 0 to 3, the parity pass 4 to 6, all others are timed.
    slow_start = [3.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    slow = bench.contender("eager", lambda i: slow_start[i] if i < 7 else 0.01, load=0.5)
    (eager,), _, _ = run(slow)
    assert eager.load_ms == pytest.approx(500)
    assert eager.first_call_ms == pytest.approx(3000)
    assert eager.first_of_size_ms == {"10x20": pytest.approx(3000), "12x20": pytest.approx(2000)}
    assert eager.latency.max == pytest.approx(10)
    assert eager.peak_memory_bytes == 1024


def test_a_contender_that_disagrees_is_neither_timed_nor_given_a_speed(bench, run):
    rows, _, _ = run(
        bench.contender("eager"),
        bench.contender("wrong.onnx", 0.001, shift=1.0),
        bench.contender("right.onnx"),
    )
    wrong = rows[1]
    assert not wrong.passed
    assert (wrong.latency, wrong.speedup, wrong.samples_ms) == (None, None, [])
    assert (wrong.stable, wrong.outliers) == (None, None)
    assert "boxes differ" in wrong.reason
    assert bench.journal.count("wrong.onnx") == 2 * 2 + 3
    assert rows[2].latency is not None


def test_outliers_are_counted_and_stay_in_every_figure(bench, run):
    rows, _, _ = run(
        bench.contender("eager", 0.1),
        # Calls 7 to 36 are the timed ones of ten rounds.
        bench.contender("jumpy.onnx", lambda call: 4.0 if call in (12, 25) else 0.1),
        rounds=10,
    )
    eager, jumpy = rows
    assert (eager.outliers, jumpy.outliers) == (0, 2)
    assert jumpy.latency.max == pytest.approx(4000)
    assert jumpy.latency.mean == pytest.approx((28 * 100 + 2 * 4000) / 30)
    assert sum(value > 1000 for row in jumpy.samples_ms for value in row) == 2


def test_a_machine_that_slows_down_is_reported_as_drift_and_cancels_in_the_ratio(bench, run):
    def slowing(seconds):
        start = bench.clock()
        return lambda _call: seconds * (1 + (bench.clock() - start) / 50)

    rows, _, drift = run(
        bench.contender("eager", slowing(0.2)),
        bench.contender("quick.onnx", slowing(0.1)),
        rounds=20,
    )
    assert drift.percent > 30
    assert drift.p_value < 0.001
    assert not rows[0].stable
    assert rows[1].speedup.median == pytest.approx(2, rel=0.02)


def test_a_steady_machine_shows_no_drift(bench, run):
    _, _, drift = run(bench.contender("eager", 0.2), rounds=20)
    assert drift.percent == pytest.approx(0, abs=1e-6)
    assert drift.p_value == 1


def test_a_lower_precision_is_held_to_finding_the_same_objects(bench, run):
    """Half a pixel is far beyond the limits of float32."""
    rows, _, _ = run(
        bench.contender("eager"),
        bench.contender("half.onnx", shift=0.5, precision="fp16"),
        bench.contender("lost.onnx", shift=60.0, precision="int8"),
    )
    half, lost = rows[1:]
    assert (half.judged_by, half.passed) == ("agreement", True)
    assert half.latency is not None
    assert half.reason == "3 of 3 detections found by both sides, at least 80% are needed"
    assert (lost.judged_by, lost.passed) == ("agreement", False)
    assert lost.latency is None


def test_contenders_are_warmed_up_one_by_one_and_all_are_closed(bench, run):
    run(bench.contender("eager"), bench.contender("a.onnx"))
    start = [entry for entry in bench.journal if entry != "sync"]
    assert start[:9] == ["reset", *["eager"] * 7, "reset"]
    assert set(bench.journal[-2:]) == {"close eager", "close a.onnx"}


def broken(contender, error):
    def load():
        raise error

    return dataclasses.replace(contender, load=load)


def test_a_contender_that_cannot_be_loaded_closes_the_others(bench, run):
    with pytest.raises(ZeroDivisionError):
        run(bench.contender("eager"), broken(bench.contender("b.onnx"), ZeroDivisionError()))
    assert bench.journal[-1] == "close eager"


def test_an_optional_contender_that_cannot_be_had_is_named_and_the_rest_goes_on(bench, run):
    optional = bench.contender("extra", optional=True)
    rows, missing, _ = run(
        bench.contender("eager"),
        broken(optional, NotRunError("it is not installed")),
        broken(dataclasses.replace(optional, name="odd"), RuntimeError("op Foo\n  at line 3")),
        bench.contender("a.onnx"),
    )
    assert [row.name for row in rows] == ["eager", "a.onnx"]
    assert [(one.name, one.reason) for one in missing] == [
        ("extra", "it is not installed"),
        ("odd", "RuntimeError: op Foo"),
    ]


def test_an_optional_contender_that_breaks_on_an_image_is_closed_and_named(bench, run):
    def seconds(call):
        if call == 5:
            raise RuntimeError("no detections")
        return 0.1

    rows, missing, _ = run(
        bench.contender("eager"), bench.contender("extra", seconds, optional=True)
    )
    assert [row.name for row in rows] == ["eager"]
    assert missing[0].reason == (
        "extra: expected to run every image, found 2 that fail: RuntimeError: no detections"
    )
    assert bench.journal.count("close extra") == 1
