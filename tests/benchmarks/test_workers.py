"""A contender in a process of its own: same answers, same errors, and its end is noticed."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pedseg_benchmarks.contenders import Contender, NotRunError
from pedseg_benchmarks.contenders.artifacts import Artifact
from pedseg_benchmarks.contenders.base import TorchDevice
from pedseg_benchmarks.harness import infer, timed_call, warm_up
from pedseg_benchmarks.workers import IsolatedWorker, LocalWorker, peak_rss
from pedseg_runtime.errors import ArtifactError, InputError

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / "runtime" / "golden" / "tiny.onnx"
IMAGE = np.zeros((40, 60, 3), np.uint8)
IMAGE[10:30, 20:50, 0] = 200


def contender(path=TINY):
    return Contender("tiny", partial(Artifact, path, device="cpu", threads=1, paste=True))


@pytest.fixture(scope="module")
def isolated():
    worker = IsolatedWorker(contender(), device="cpu", threads=1)
    yield worker
    worker.close()


def test_detections_and_properties_are_those_of_the_same_contender_in_this_process(isolated):
    local = LocalWorker(contender(), TorchDevice("cpu"))
    assert isolated.info == local.info
    (there,), (here,) = (worker.run(infer, [IMAGE]) for worker in (isolated, local))
    assert len(there) == len(here) == 1
    np.testing.assert_array_equal(there.boxes, here.boxes)
    local.close()


def test_times_are_taken_where_the_contender_lives(isolated):
    warm = isolated.run(warm_up, [IMAGE], 2)
    assert 0 < warm.first_call < 10
    assert isolated.run(timed_call, [IMAGE]).seconds > 0
    assert isolated.load_seconds > 0


def test_its_memory_is_its_own(isolated):
    assert isolated.run(peak_rss) > 50 << 20


def test_an_error_there_is_an_error_here_and_the_process_lives_on(isolated):
    with pytest.raises(InputError, match="expected at least one call"):
        isolated.run(warm_up, [IMAGE], 0)
    assert len(isolated.run(infer, [IMAGE])) == 1


def test_a_contender_that_cannot_be_loaded_says_why(tmp_path):
    with pytest.raises(ArtifactError, match="found none"):
        IsolatedWorker(contender(tmp_path / "nothing.onnx"), device="cpu", threads=1)


def test_a_process_that_dies_is_one_line_with_its_exit_code():
    worker = IsolatedWorker(contender(), device="cpu", threads=1)
    with pytest.raises(NotRunError, match="its process ended with exit code 7"):
        worker.run(die)
    worker.close()


def die(_context):
    os._exit(7)
