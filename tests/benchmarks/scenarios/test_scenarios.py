from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pedseg_benchmarks.contenders import EAGER, Contender
from pedseg_benchmarks.contenders.artifacts import Artifact
from pedseg_benchmarks.contenders.base import TorchDevice
from pedseg_benchmarks.contenders.registry import Conditions
from pedseg_benchmarks.correctness import Verdict
from pedseg_benchmarks.harness import LoadedContender
from pedseg_benchmarks.scenario_results import Server
from pedseg_benchmarks.scenarios.cold_start import cold_start
from pedseg_benchmarks.scenarios.offline import offline
from pedseg_benchmarks.scenarios.server import Load, highest_rate, serve_predictor, server
from pedseg_benchmarks.scenarios.stages import stages
from pedseg_benchmarks.workers import LocalWorker
from pedseg_runtime.errors import DeviceError, InputError

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[2] / "runtime" / "golden" / "tiny.onnx"
IMAGE = np.zeros((40, 60, 3), np.uint8)
IMAGE[10:30, 20:50, 0] = 200


def contender(name, worker):
    return LoadedContender(
        name, worker, None, [], Verdict("parity", True, "", None, None, None), None
    )


@pytest.fixture
def artifact():
    load = partial(Artifact, TINY, device="cpu", threads=1, paste=True)
    worker = LocalWorker(Contender("tiny.onnx", load), TorchDevice("cpu"))
    yield contender("tiny.onnx", worker)
    worker.close()


@pytest.fixture
def fake(bench):
    def fake(name, seconds=0.1, **traits):
        worker = bench.worker(bench.contender(name, seconds, **traits))
        return contender(name, worker)

    return fake


def test_throughput_counts_images_not_calls(fake, images):
    rows, missing = offline([fake("a", 0.2), fake("b", 0.1)], images, batches=[1, 4], calls=3)
    assert [(row.contender, row.batch) for row in rows] == [
        ("a", 1),
        ("b", 1),
        ("a", 4),
        ("b", 4),
    ]
    assert [row.images_per_second for row in rows] == pytest.approx([5, 10, 20, 40])
    assert all(len(row.samples_ms) == 3 for row in rows)
    assert not missing


def test_a_batch_is_of_one_size_and_contenders_take_turns(bench, fake, images):
    seen = []
    first, second = fake("a"), fake("b")
    for one in (first, second):
        loaded = one.worker._context.model
        infer = loaded.infer
        loaded.infer = lambda batch, infer=infer, name=loaded.name: (
            seen.append((name, [image.shape for image in batch])) or infer(batch)
        )
    offline([first, second], images, batches=[3], calls=2)
    assert "".join(name for name, _ in seen) == "ababba"
    assert all(shapes == [(10, 20, 3)] * 3 for _, shapes in seen)


def test_a_contender_of_one_image_per_call_or_without_memory_is_named(fake, images):
    single, small = fake("single"), fake("small")
    single.worker.info = dataclasses.replace(single.worker.info, max_batch=1)
    infer = small.worker._context.model.infer

    def limited(batch):
        if len(batch) > 1:
            raise DeviceError("no memory for 2 images")
        return infer(batch)

    small.worker._context.model.infer = limited
    rows, missing = offline([single, small], images, batches=[1, 2], calls=1)
    assert [(row.contender, row.batch) for row in rows] == [("single", 1), ("small", 1)]
    assert [(one.name, one.reason) for one in missing] == [
        ("single, batch 2", "it takes 1 image(s) per call"),
        ("small, batch 2", "no memory for 2 images"),
    ]


def trial(rate, holds):
    return Server("a", rate, 10, 0, 1.0, 2.0, 3.0, 5.0, holds, [1.0])


@pytest.mark.parametrize("capacity", [0.3, 2.0, 7.9, 8.5, 60.0])
def test_the_highest_rate_that_holds_is_found_below_and_above_the_guess(capacity):
    rows = highest_rate(lambda rate: trial(rate, rate <= capacity), guess=8.0, steps=10)
    best = max(row.rate for row in rows if row.holds)
    assert capacity - 64 / 2**10 <= best <= capacity


def test_a_server_that_holds_everything_ends_the_search():
    assert len(highest_rate(lambda rate: trial(rate, True), guess=8.0, steps=3)) == 1 + 4 + 3


def test_arrivals_are_poisson_and_the_same_for_every_rate():
    load = Load(bound_ms=10, arrivals=2000, max_seconds=1000)
    slow, fast = load.schedule(10), load.schedule(20)
    gaps = np.diff(slow)
    assert np.mean(gaps) == pytest.approx(0.1, rel=0.1)
    assert np.std(gaps) == pytest.approx(0.1, rel=0.15)
    np.testing.assert_allclose(np.array(slow), 2 * np.array(fast))


def test_a_trial_lasts_ten_bounds_and_no_longer_than_allowed():
    load = Load(bound_ms=100, arrivals=20, max_seconds=4)
    assert len(load.schedule(10)) == 20
    assert len(load.schedule(100)) == 100  # 20 would be over in two bounds
    assert len(load.schedule(2)) == 8
    assert len(load.schedule(0.1)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"bound_ms": 0}, "bound_ms"), ({"bound_ms": 500, "max_seconds": 4}, "at least 5")],
)
def test_a_load_that_shows_nothing_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Load(**options)


class Slow:
    """A predictor that needs 20 ms per image, whatever the batch."""

    manifest = provider = None

    def __init__(self, seconds=0.02):
        self.seconds = seconds

    def read(self, image, name="image"):
        return image

    def check_threshold(self, threshold): ...

    def predict(self, images, *, score_threshold=None, batch_size=8):
        time.sleep(self.seconds * len(images))
        return [None for _ in images]


def test_latency_counts_from_the_moment_a_request_was_due():
    """20 requests at once, 20 ms each: the last one waits for all the others."""
    load = Load(bound_ms=0.2, arrivals=20, max_seconds=100)
    row = serve_predictor(Slow(), "slow", [IMAGE], 10_000, load)
    assert (row.arrivals, row.shed, row.holds) == (20, 0, False)
    assert max(row.samples_ms) > 19 * 20
    assert row.p50 < row.p99


def test_a_quiet_server_keeps_its_bound():
    load = Load(bound_ms=400, arrivals=5, max_seconds=100)
    row = serve_predictor(Slow(), "slow", [IMAGE], 2, load)
    assert row.holds
    assert min(row.samples_ms) >= 20
    assert len(row.samples_ms) == 8


def test_requests_that_find_no_place_are_shed_and_the_rate_does_not_hold():
    load = Load(bound_ms=0.1, arrivals=120, max_seconds=100, batch=1)
    row = serve_predictor(Slow(0.005), "slow", [IMAGE], 100_000, load)
    assert row.shed > 0
    assert row.shed + len(row.samples_ms) == 120
    assert not row.holds


def test_artifacts_are_served_and_others_are_named(artifact, fake):
    load = Load(bound_ms=20, arrivals=5, max_seconds=0.2)
    rows, missing = server([fake("eager"), artifact], [IMAGE], load)
    assert {row.contender for row in rows} == {"tiny.onnx"}
    assert [one.name for one in missing] == ["server: eager"]


def test_a_fresh_process_reaches_its_first_answer(artifact):
    conditions = Conditions(device="cpu", threads=1, paste=True, cache=Path("unused"))
    (row,) = cold_start([artifact], IMAGE, conditions, processes=1)
    assert row.contender == "tiny.onnx"
    assert len(row.import_ms) == len(row.load_ms) == len(row.first_ms) == 1
    assert min(row.import_ms + row.load_ms + row.first_ms) > 0
    assert row.peak_rss_bytes[0] > 20 << 20


def test_a_fresh_process_of_the_runtime_imports_no_torch(tmp_path):
    np.save(tmp_path / "image.npy", IMAGE)
    order = {"kind": "artifact", "path": str(TINY), "device": "cpu", "threads": 1}
    code = (
        "import sys\n"
        "from pedseg_benchmarks.scenarios import cold_start_process\n"
        "cold_start_process.main()\n"
        "sys.exit('torch' in sys.modules)"
    )
    order["image"] = str(tmp_path / "image.npy")
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(order)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["imported", "loaded", "answered", "peak_rss"]


def test_a_process_that_fails_is_one_line(artifact):
    conditions = Conditions(device="nowhere", threads=1, paste=True, cache=Path("unused"))
    with pytest.raises(DeviceError, match=r"tiny\.onnx: expected a fresh process"):
        cold_start([artifact], IMAGE, conditions, processes=1)


def test_only_eager_and_artifacts_are_services(fake):
    conditions = Conditions(device="cpu", threads=1, paste=True, cache=Path("unused"))
    assert cold_start([fake("eager-compile")], IMAGE, conditions, processes=1) == []
    assert EAGER == "eager"


def test_the_stages_of_a_request_are_timed_apart(artifact, fake):
    rows = stages([artifact, fake("eager")], IMAGE, device="cpu", calls=3)
    found = {(row.contender, row.stage): row.samples_ms for row in rows}
    assert list(found) == [
        *(("tiny.onnx", stage) for stage in ("decode", "graph", "paste", "encode")),
        *(("eager", stage) for stage in ("decode", "graph", "encode")),
    ]
    assert all(len(samples) == 3 for samples in found.values())
    assert found["eager", "graph"] == pytest.approx([100, 100, 100])
