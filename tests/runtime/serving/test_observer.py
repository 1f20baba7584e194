"""What an observer is told is what happened, and what the counts say."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import (
    BatchingSegmenter,
    ClosedError,
    DeadlineError,
    InputError,
    Observer,
    QueueFullError,
    Segmenter,
    ShadowSegmenter,
)


class Recorder(Observer):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.roles: list[Any] = []
        self.ends: Counter[tuple[str, str]] = Counter()
        self.waiting: list[int] = []
        self.batches: list[int] = []
        self.stages: Counter[str] = Counter()
        self.samples: Counter[str] = Counter()
        self.sampled = threading.Semaphore(0)

    def started(self, manifest: Any, provider: str, role: str) -> None:
        self.roles.append((role, provider, manifest.precision))

    def request_ended(self, outcome: str, seconds: float, error: BaseException | None) -> None:
        assert seconds >= 0
        self.ends[outcome, "" if error is None else type(error).__name__] += 1

    def queue_changed(self, waiting: int) -> None:
        self.waiting.append(waiting)

    def batch_taken(self, images: int) -> None:
        self.batches.append(images)

    def stage_ended(self, stage: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages[stage] += 1

    def sample_ended(self, outcome: str) -> None:
        self.samples[outcome] += 1
        self.sampled.release()


class Gated:
    """A segmenter whose runs wait at a gate."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.real = segmenter
        self.manifest, self.provider = segmenter.manifest, segmenter.provider
        self.read, self.check_threshold = segmenter.read, segmenter.check_threshold
        self.entered, self.gate = threading.Event(), threading.Event()

    def predict(self, images: list[Any], **options: Any) -> Any:
        self.entered.set()
        assert self.gate.wait(30)
        return self.real.predict(images, **options)


@pytest.fixture
def gated(segmenter: Segmenter) -> Iterator[Gated]:
    gated = Gated(segmenter)
    yield gated
    gated.gate.set()


def test_every_end_is_told_once_with_its_error(gated: Gated, street: NDArray[np.uint8]) -> None:
    seen = Recorder()
    with BatchingSegmenter(gated, queue_limit=2, batch_timeout=0, observer=seen) as batching:
        running = batching.submit(street)
        assert gated.entered.wait(30)
        with pytest.raises(InputError):
            batching(b"no image")
        with pytest.raises(InputError):
            batching(street, score_threshold=2)
        waiting = [batching.submit(street), batching.submit(street)]
        with pytest.raises(QueueFullError):
            batching(street)
        assert waiting[0].cancel()
        with pytest.raises(DeadlineError):
            batching(street, timeout=0.01)
        gated.gate.set()
        assert len(running.result(30)) == len(waiting[1].result(30)) == 2
    with pytest.raises(ClosedError):
        batching(street)
    assert seen.roles == [("primary", "CPUExecutionProvider", "fp32")]
    assert seen.ends == {
        ("answered", ""): 2,
        ("failed", "InputError"): 1,
        ("rejected", "InputError"): 1,
        ("rejected", "QueueFullError"): 1,
        ("rejected", "ClosedError"): 1,
        ("cancelled", ""): 1,
        ("expired", "DeadlineError"): 1,
    }
    assert (max(seen.waiting), seen.waiting[-1], seen.batches) == (2, 0, [1, 1])
    assert seen.stages == {"decode": 5, "queue": 2, "run": 2}
    stats = batching.stats()
    assert stats.accepted == stats.answered + stats.failed + stats.cancelled + stats.expired == 5
    assert (stats.rejected, stats.waiting, stats.images) == (3, 0, 2)


@pytest.mark.parametrize("how", ["call", "coroutine"])
def test_a_run_that_outlasts_its_deadline_has_expired(
    gated: Gated, street: NDArray[np.uint8], how: str
) -> None:
    """Its caller got a `DeadlineError`: that the model answered later helps nobody."""
    seen = Recorder()
    with BatchingSegmenter(gated, observer=seen) as batching:

        def ask() -> None:
            if how == "call":
                batching(street, timeout=0.05)
            else:
                asyncio.run(batching.asegment(street, timeout=0.05))

        with pytest.raises(DeadlineError):
            ask()
        gated.gate.set()
    assert seen.ends == {("expired", "DeadlineError"): 1}
    assert (batching.stats().expired, batching.stats().answered) == (1, 0)


def test_an_answer_that_is_settled_as_the_deadline_passes_is_given(
    segmenter: Segmenter, street: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Recorder()
    with BatchingSegmenter(segmenter, observer=seen) as batching:
        settled, late = threading.Event(), threading.Event()

        def slow(outcome: str, seconds: float, error: BaseException | None) -> None:
            settled.set()
            assert late.wait(30)

        monkeypatch.setattr(seen, "request_ended", slow)
        give_up = batching._queue.give_up

        def too_late(request: Any) -> bool:
            assert settled.wait(30)
            late.set()
            return give_up(request)

        monkeypatch.setattr(batching._queue, "give_up", too_late)
        assert len(batching(street, timeout=0.05)) == 2
    assert batching.stats().answered == 1


def test_close_without_drain_tells_of_those_it_sends_away(
    gated: Gated, street: NDArray[np.uint8]
) -> None:
    seen = Recorder()
    batching = BatchingSegmenter(gated, batch_timeout=0, observer=seen)
    batching.submit(street)
    assert gated.entered.wait(30)
    waiting = batching.submit(street)
    closing = threading.Thread(target=lambda: batching.close(drain=False))
    closing.start()
    assert isinstance(waiting.exception(30), ClosedError)
    gated.gate.set()
    closing.join(30)
    assert seen.ends == {("answered", ""): 1, ("cancelled", "ClosedError"): 1}
    assert seen.waiting[-1] == 0


def test_an_observer_that_fails_costs_nobody_anything(
    segmenter: Segmenter, street: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no disk")

    broken = Observer()
    for event in ("started", "request_ended", "queue_changed", "batch_taken", "stage_ended"):
        setattr(broken, event, fail)
    broken.sample_ended = fail  # type: ignore[method-assign]
    with (
        ShadowSegmenter(segmenter, segmenter, rate=1, max_share=1, observer=broken) as shadow,
        BatchingSegmenter(shadow, observer=broken) as batching,
    ):
        assert len(batching(street)) == len(batching(street)) == 2
    assert "an observer failed" in caplog.text


@pytest.mark.parametrize(
    ("shift", "failure", "outcome"),
    [(0.0, "", "agreed"), (0.5, "", "mismatched"), (0.0, "gone", "failed")],
)
def test_a_shadow_tells_how_its_samples_end(
    segmenter: Segmenter, street: NDArray[np.uint8], shift: float, failure: str, outcome: str
) -> None:
    class Reference(Gated):
        def predict(self, images: list[Any], **options: Any) -> Any:
            if failure:
                raise RuntimeError(failure)
            found = super().predict(images, **options)
            return [replace(one, boxes=one.boxes + np.float32(shift)) for one in found]

    reference, seen = Reference(segmenter), Recorder()
    reference.gate.set()
    with ShadowSegmenter(segmenter, reference, rate=1, max_share=1, observer=seen) as shadow:
        shadow(street)
        assert seen.sampled.acquire(timeout=30)
    assert seen.samples == {outcome: 1}
    assert seen.stages == {"reference": 1}
    assert [role for role, *_ in seen.roles] == ["primary", "reference"]


def test_dropped_samples_are_told(segmenter: Segmenter, street: NDArray[np.uint8]) -> None:
    reference, seen = Gated(segmenter), Recorder()
    with ShadowSegmenter(
        segmenter, reference, rate=1, max_share=1, queue_limit=1, observer=seen
    ) as shadow:
        shadow(street)
        assert reference.entered.wait(30)
        shadow.predict([street] * 3)
        assert seen.samples == {"dropped": 2}
        reference.gate.set()
    report = shadow.report()
    assert seen.samples["dropped"] == report.dropped
    assert seen.samples["agreed"] == report.compared
