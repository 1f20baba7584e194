from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import (
    BatchingSegmenter,
    ClosedError,
    DeadlineError,
    Detections,
    DeviceError,
    InputError,
    QueueFullError,
    Segmenter,
)
from pedseg_runtime.serving.requests import Request, RequestQueue

SIZES = [(20, 30), (30, 20), (25, 25)]


def numbered_image(index: int) -> NDArray[np.uint8]:
    """An image with one person, whose place and score tell which of 64 it is."""
    image = np.zeros((*SIZES[index % 3], 3), np.uint8)
    image[index % 7 : index % 7 + 5, index % 11 : index % 11 + 6, index % 3] = 100 + 2 * index
    return image


def assert_same(found: Detections, expected: Detections) -> None:
    assert found.image_size == expected.image_size
    for name in ("boxes", "labels", "scores", "roi_masks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


class Gated:
    """A segmenter that waits at a gate before each run, and fails where the test says."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.real = segmenter
        self.manifest, self.provider = segmenter.manifest, segmenter.provider
        self.read, self.check_threshold = segmenter.read, segmenter.check_threshold
        self.entered, self.gate = threading.Event(), threading.Event()
        self.batches: list[int] = []
        self.fails: Callable[[list[Any]], bool] = lambda images: False

    def predict(self, images: list[Any], **options: Any) -> list[Detections]:
        self.entered.set()
        assert self.gate.wait(30)
        self.batches.append(len(images))
        if self.fails(images):
            raise DeviceError("out of memory")
        return self.real.predict(images, **options)


@pytest.fixture
def gated(segmenter: Segmenter) -> Gated:
    return Gated(segmenter)


@pytest.fixture
def busy(gated: Gated) -> Iterator[BatchingSegmenter]:
    """Two places in the queue, none taken, while the model is in its first run."""
    with BatchingSegmenter(gated, max_batch_size=4, batch_timeout=0, queue_limit=2) as batching:
        first = batching.submit(numbered_image(0))
        assert gated.entered.wait(30)
        try:
            yield batching
        finally:
            gated.gate.set()
            first.result(30)


def test_every_one_of_64_callers_gets_its_own_answer(segmenter: Segmenter) -> None:
    expected = [segmenter(numbered_image(index)) for index in range(64)]
    start = threading.Barrier(64)
    with BatchingSegmenter(segmenter, max_batch_size=8, batch_timeout=0.05) as batching:

        def call(index: int) -> Detections:
            start.wait(30)
            return batching(numbered_image(index), timeout=60)

        with ThreadPoolExecutor(64) as pool:
            found = list(pool.map(call, range(64)))
        stats = batching.stats()
    for own, alone in zip(found, expected, strict=True):
        assert_same(own, alone)
    assert (stats.accepted, stats.answered, stats.images, stats.waiting) == (64, 64, 64, 0)
    assert 8 <= stats.batches < 64
    assert stats.to_dict()["mean_batch_size"] == 64 / stats.batches


def test_every_one_of_64_coroutines_gets_its_own_answer(segmenter: Segmenter) -> None:
    expected = [segmenter(numbered_image(index)) for index in range(64)]

    async def all_of_them(batching: BatchingSegmenter) -> list[Detections]:
        calls = (batching.asegment(numbered_image(index), timeout=60) for index in range(64))
        return await asyncio.gather(*calls)

    with BatchingSegmenter(segmenter, max_batch_size=8, batch_timeout=0.05) as batching:
        found = asyncio.run(all_of_them(batching))
    for own, alone in zip(found, expected, strict=True):
        assert_same(own, alone)


def test_images_that_waited_run_together_up_to_the_limit(gated: Gated) -> None:
    with BatchingSegmenter(gated, max_batch_size=4, batch_timeout=0) as batching:
        futures = [batching.submit(numbered_image(0))]
        assert gated.entered.wait(30)
        futures += [batching.submit(numbered_image(3 * index)) for index in range(6)]
        gated.gate.set()
        for future in futures:
            future.result(30)
    assert gated.batches == [1, 4, 2]


def test_a_lone_image_waits_for_company_only_so_long(segmenter: Segmenter) -> None:
    with BatchingSegmenter(segmenter, batch_timeout=0.01) as batching:
        assert len(batching(numbered_image(1), timeout=30)) == 1


def test_a_bad_image_is_its_own_callers(busy: BatchingSegmenter, gated: Gated) -> None:
    good = busy.submit(numbered_image(1))
    with pytest.raises(InputError, match="expected an image"):
        busy.submit(b"no image")
    with pytest.raises(InputError, match="built into the artifact"):
        busy.submit(numbered_image(1), score_threshold=0.01)
    gated.gate.set()
    assert len(good.result(30)) == 1
    stats = busy.stats()
    assert (stats.failed, stats.accepted, stats.answered) == (1, 3, 2)


def test_a_full_queue_turns_away_before_it_reads(busy: BatchingSegmenter, gated: Gated) -> None:
    futures = [busy.submit(numbered_image(index)) for index in (1, 2)]
    with pytest.raises(QueueFullError, match="at most 2 waiting"):
        busy.submit(b"not even looked at")
    with pytest.raises(QueueFullError):
        asyncio.run(busy.asegment(b"not even looked at"))
    assert busy.stats().rejected == 2
    assert busy.stats().waiting == 2
    gated.gate.set()
    assert [len(future.result(30)) for future in futures] == [1, 1]


def test_a_deadline_ends_the_wait_and_frees_the_place(busy: BatchingSegmenter) -> None:
    with pytest.raises(DeadlineError, match=r"within 0\.01 s"):
        busy(numbered_image(1), timeout=0.01)
    with pytest.raises(DeadlineError):
        asyncio.run(busy.asegment(numbered_image(1), timeout=0.01))
    stats = busy.stats()
    assert (stats.expired, stats.waiting) == (2, 0)


def test_a_request_that_is_late_is_not_run(busy: BatchingSegmenter, gated: Gated) -> None:
    late = busy.submit(numbered_image(1), timeout=0)
    gated.gate.set()
    with pytest.raises(DeadlineError):
        late.result(30)
    busy.close()
    assert gated.batches == [1]
    assert busy.stats().expired == 1


def test_no_time_goes_into_answers_that_come_too_late() -> None:
    """A batch takes a second: who has half of one left makes room for who can be answered."""
    queue, image = RequestQueue(8), np.zeros((4, 4, 3), np.uint8)
    requests = [Request(0.5, None), Request(0.6, None), Request(60.0, None), Request(None, None)]
    for _ in range(3):
        queue.ran(1.0)
    for request in requests:
        queue.reserve()
        queue.put(request, image)
    assert [queue.take(1, 0) for _ in range(2)] == [[requests[2]], [requests[3]]]
    for request in requests[:2]:
        assert isinstance(request.future.exception(0), DeadlineError)
    assert queue.stats().expired == 2
    lone = Request(0.5, None)
    queue.reserve()
    queue.put(lone, image)
    assert queue.take(1, 0) == [lone], "times may have changed, which only a run can tell"


def test_a_run_that_outlasts_a_deadline_is_not_waited_for(gated: Gated) -> None:
    with BatchingSegmenter(gated, batch_timeout=0) as batching:
        with pytest.raises(DeadlineError):
            batching(numbered_image(1), timeout=0.2)
        gated.gate.set()


def test_a_cancelled_request_frees_its_place_and_is_not_run(
    busy: BatchingSegmenter, gated: Gated
) -> None:
    futures = [busy.submit(numbered_image(index)) for index in (1, 2)]
    assert futures[0].cancel()
    assert busy.stats().waiting == 1
    third = busy.submit(numbered_image(3))
    gated.gate.set()
    assert len(third.result(30)) == 1
    with pytest.raises(CancelledError):
        futures[0].result(0)
    busy.close()
    assert sum(gated.batches) == 3
    assert busy.stats().cancelled == 1


def test_a_cancelled_coroutine_frees_its_place(busy: BatchingSegmenter) -> None:
    async def impatient() -> None:
        task = asyncio.create_task(busy.asegment(numbered_image(1)))
        while busy.stats().accepted < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(impatient())
    assert busy.stats().waiting == 0


def test_only_the_guilty_image_of_a_failed_run_fails(gated: Gated) -> None:
    gated.fails = lambda images: any(image.max() == 106 for image in images)
    with BatchingSegmenter(gated, max_batch_size=8, batch_timeout=0) as batching:
        first = batching.submit(numbered_image(0))
        assert gated.entered.wait(30)
        futures = [batching.submit(numbered_image(index)) for index in (0, 3, 6, 9)]
        gated.gate.set()
        assert len(first.result(30)) == 1
        with pytest.raises(DeviceError, match="out of memory"):
            futures[1].result(30)
        assert [len(futures[index].result(30)) for index in (0, 2, 3)] == [1, 1, 1]
        stats = batching.stats()
    assert gated.batches == [1, 4, 1, 1, 1, 1]
    assert (stats.answered, stats.failed) == (4, 1)


def test_whatever_the_segmenter_raises_the_thread_lives_on(gated: Gated) -> None:
    gated.gate.set()

    def leave(images: list[Any]) -> bool:
        if images[0].max() == 106:
            raise SystemExit(3)
        return False

    gated.fails = leave
    with BatchingSegmenter(gated, batch_timeout=0) as batching:
        with pytest.raises(SystemExit):
            batching(numbered_image(3), timeout=30)
        assert len(batching(numbered_image(0), timeout=30)) == 1


def test_thresholds_are_each_callers_own(busy: BatchingSegmenter, gated: Gated) -> None:
    low = busy.submit(numbered_image(3))
    high = busy.submit(numbered_image(3), score_threshold=0.9)
    gated.gate.set()
    assert (len(low.result(30)), len(high.result(30))) == (1, 0)


def test_close_answers_those_who_wait(gated: Gated) -> None:
    batching = BatchingSegmenter(gated, batch_timeout=60)
    futures = [batching.submit(numbered_image(index)) for index in range(3)]
    gated.gate.set()
    batching.close()
    assert [len(future.result(0)) for future in futures] == [1, 1, 1]
    with pytest.raises(ClosedError, match="found it closed"):
        batching(numbered_image(0))
    with pytest.raises(ClosedError):
        asyncio.run(batching.asegment(numbered_image(0)))
    batching.close()
    assert len(gated.real(numbered_image(0))) == 1, "the segmenter is its owner's to close"


def test_close_without_drain_sends_them_away(busy: BatchingSegmenter, gated: Gated) -> None:
    futures = [busy.submit(numbered_image(index)) for index in (1, 2)]
    closing = threading.Thread(target=busy.close, kwargs={"drain": False})
    closing.start()
    for future in futures:
        with pytest.raises(ClosedError):
            future.result(30)
    gated.gate.set()
    closing.join(30)
    assert not closing.is_alive()
    assert (busy.stats().cancelled, busy.stats().waiting) == (2, 0)


def batching_threads() -> int:
    return sum(thread.name == "pedseg-batching" for thread in threading.enumerate())


def test_an_image_that_is_read_while_all_is_closed_is_sent_away() -> None:
    requests = RequestQueue(1)
    requests.reserve()
    requests.close("closed", drain=False)
    with pytest.raises(ClosedError):
        requests.put(Request(None, None), np.zeros((4, 4, 3), np.uint8))
    assert (requests.stats().cancelled, requests.stats().waiting) == (1, 0)
    assert requests.take(8, 1.0) == []


def test_no_thread_is_left_behind(segmenter: Segmenter) -> None:
    before = batching_threads()
    with BatchingSegmenter(segmenter) as batching:
        assert batching_threads() == before + 1
        batching(numbered_image(0))
    assert batching_threads() == before
    forgotten = BatchingSegmenter(segmenter)
    reference = weakref.ref(forgotten)
    del forgotten, batching
    gc.collect()
    assert reference() is None
    assert batching_threads() == before


@pytest.mark.parametrize(
    "options", [{"max_batch_size": 0}, {"queue_limit": 0}, {"batch_timeout": -1}], ids=str
)
def test_numbers_that_cannot_be_are_refused(segmenter: Segmenter, options: Any) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        BatchingSegmenter(segmenter, **options)


def test_an_image_of_another_size_than_a_fixed_graph_takes_is_refused_alone(
    fixed_path: Path, street: NDArray[np.uint8]
) -> None:
    with (
        Segmenter.load(fixed_path, device="cpu") as segmenter,
        BatchingSegmenter(segmenter, max_batch_size=8, batch_timeout=0.05) as batching,
    ):
        good: Future[Detections] = batching.submit(street)
        with pytest.raises(InputError, match="expected 40x60"):
            batching.submit(street[:30])
        assert len(good.result(30)) == 2


FORGETFUL = """
import sys, numpy as np
from pedseg_runtime import BatchingSegmenter, Segmenter
batching = BatchingSegmenter(Segmenter.load(sys.argv[1], device="cpu"), batch_timeout=60)
future = batching.submit(np.zeros((9, 9, 3), np.uint8))
print("end", flush=True)
"""
FORKED = """
import os, sys, warnings, numpy as np
from pedseg_runtime import BatchingSegmenter, ClosedError, Segmenter
warnings.simplefilter("ignore", DeprecationWarning)
image = np.full((9, 9, 3), 200, np.uint8)
batching = BatchingSegmenter(Segmenter.load(sys.argv[1], device="cpu"))
assert len(batching(image)) == 3
child = os.fork()
if child == 0:
    try:
        batching(image)
    except ClosedError as error:
        print(error, flush=True)
    batching.close()
    sys.exit(7)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
print("parent", len(batching(image)), flush=True)
"""


def child(code: str, path: Path) -> list[str]:
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_process_that_forgets_to_close_ends(tiny_path: Path) -> None:
    assert child(FORGETFUL, tiny_path) == ["end"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_is_told_so(tiny_path: Path) -> None:
    error, *rest = child(FORKED, tiny_path)
    assert "inherited from the process that forked this one" in error
    assert rest == ["child 7", "parent 3"]
