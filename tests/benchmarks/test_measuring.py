from __future__ import annotations

import pytest

from pedseg_benchmarks.measuring import measure
from pedseg_runtime.parity import Settings


@pytest.fixture
def run(bench, images):
    def run(*contenders, **options):
        return measure(
            contenders,
            images,
            names=["a.png", "b.png", "c.png"],
            settings=Settings(0.05, 0.5, 100),
            **{"warmup": 2, "rounds": 4, "device": bench.device, "clock": bench.clock, **options},
        )

    return run


def test_a_faster_contender_that_agrees_gets_its_numbers(bench, run):
    eager, quick = run(bench.contender("eager", 0.2), bench.contender("quick.onnx", 0.1))
    assert eager.speedup is None
    assert eager.parity is None
    assert eager.passed
    assert quick.parity["passed"]
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
    (eager,) = run(bench.contender("eager", lambda i: slow_start[i] if i < 7 else 0.01, load=0.5))
    assert eager.load_ms == pytest.approx(500)
    assert eager.first_call_ms == pytest.approx(3000)
    assert eager.first_of_size_ms == {"10x20": pytest.approx(3000), "12x20": pytest.approx(2000)}
    assert eager.latency.max == pytest.approx(10)
    assert eager.peak_memory_bytes == 1024


def test_a_contender_that_disagrees_is_neither_timed_nor_given_a_speed(bench, run):
    rows = run(
        bench.contender("eager"),
        bench.contender("wrong.onnx", 0.001, shift=1.0),
        bench.contender("right.onnx"),
    )
    wrong = rows[1]
    assert not wrong.passed
    assert (wrong.latency, wrong.speedup, wrong.samples_ms) == (None, None, [])
    assert "boxes differ" in wrong.parity["reason"]
    assert bench.journal.count("wrong.onnx") == 2 * 2 + 3
    assert rows[2].latency is not None


def test_contenders_are_warmed_up_one_by_one_and_all_are_closed(bench, run):
    run(bench.contender("eager"), bench.contender("a.onnx"))
    start = [entry for entry in bench.journal if entry != "sync"]
    assert start[:9] == ["reset", *["eager"] * 7, "reset"]
    assert set(bench.journal[-2:]) == {"close eager", "close a.onnx"}


def test_a_contender_that_cannot_be_loaded_closes_the_others(bench, run):
    broken = bench.contender("broken.onnx")
    failing = type(broken)(broken.name, broken.path, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(bench.contender("eager"), failing)
    assert bench.journal[-1] == "close eager"
