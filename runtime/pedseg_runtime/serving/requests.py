"""Requests that wait for the model, in a queue of bounded length, and counts of their outcomes."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import ClosedError, DeadlineError, QueueFullError
from .observer import Observer, Outcome, notify


@dataclass(slots=True, eq=False)
class Request:
    """One image and the future of its detections.

    Attributes:
        timeout: seconds from its arrival in which it is worth an answer; None waits for ever.
        score_threshold: of its caller; None keeps all detections.
        arrived: when the request was made, on `time.monotonic`.
        image: uint8 [H, W, 3]; empty until it is decoded, see `RequestQueue.put`.
        ready: when it was decoded, on `time.monotonic`.
        given_up: whether its caller has stopped waiting because the deadline passed.
        ended: whether its outcome is settled and counted; it cannot be given up any more.
    """

    timeout: float | None
    score_threshold: float | None
    arrived: float = field(default_factory=time.monotonic)
    image: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0, 3), np.uint8))
    future: Future[Detections] = field(default_factory=Future)
    ready: float = 0.0
    given_up: bool = False
    ended: bool = False

    def remaining(self) -> float | None:
        """Seconds to the deadline, at least 0; None waits for ever."""
        if self.timeout is None:
            return None
        return max(0.0, self.arrived + self.timeout - time.monotonic())

    def expired(self, within: float = 0.0) -> bool:
        """Whether the deadline has passed, or will within so many seconds."""
        remaining = self.remaining()
        return remaining is not None and remaining <= within


@dataclass(frozen=True, slots=True)
class BatchingStats:
    """Counts since the start.

    Attributes:
        accepted: requests that got a place. Each of them ends in one of the next four.
        answered: got detections.
        failed: got an error, also of an image that cannot be read.
        expired: their deadline passed before there was an answer.
        cancelled: their caller cancelled them, or the queue was closed over them.
        rejected: got no place: the queue was full or closed, or an argument cannot be used.
        batches, images: batches that were taken from the queue, and images in them.
        waiting: requests that have a place now and are not being run.
    """

    accepted: int = 0
    answered: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    rejected: int = 0
    batches: int = 0
    images: int = 0
    waiting: int = 0

    @property
    def mean_batch_size(self) -> float:
        """Images per batch; 0 before the first."""
        return self.images / self.batches if self.batches else 0.0

    def to_dict(self) -> dict[str, float]:
        """All counts and `mean_batch_size`; for Prometheus see `PrometheusMetrics`."""
        return {**dataclasses.asdict(self), "mean_batch_size": self.mean_batch_size}


class RequestQueue:
    """Places for a bounded number of requests; safe to use from several threads."""

    def __init__(self, limit: int, observer: Observer | None = None) -> None:
        """Make a queue of `limit` places; `observer` is told what happens to the requests."""
        self._limit, self._observer = limit, Observer() if observer is None else observer
        self._changed = threading.Condition()
        self._ready: deque[Request] = deque()
        self._places = 0  # taken: being decoded or ready
        self._closed = ""
        self._drains = False
        self._counts: dict[str, int] = {}
        self._mean = self._deviation = 0.0  # seconds of a batch

    def reserve(self) -> None:
        """Take a place, before anything is spent on the request.

        Raises:
            ClosedError: the queue is closed.
            QueueFullError: no place is left.
        """
        with self._changed:
            if self._closed:
                raise closed_error(self._closed)
            if self._places >= self._limit:
                raise QueueFullError(
                    f"queue: expected at most {self._limit} waiting requests, found it full; come "
                    "back later, or raise queue_limit"
                )
            self._move(1)
            self._count(accepted=1)

    def release(
        self, request: Request, outcome: Outcome, error: BaseException | None = None
    ) -> None:
        """Give back the place of a request that will not be run, and end it."""
        with self._changed:
            self._move(-1)
            self._changed.notify_all()
        self.end(request, outcome, error)

    def end(self, request: Request, outcome: Outcome, error: BaseException | None = None) -> None:
        """Settle and count how a request ended, before its caller learns of it.

        One that was given up has expired, whatever became of it later.
        """
        with self._changed:
            request.ended = True
            if request.given_up:
                outcome, error = "expired", deadline_error(request)
            self._count(**{outcome: 1})
        seconds = time.monotonic() - request.arrived
        notify(self._observer.request_ended, outcome, seconds, error)

    def give_up(self, request: Request) -> bool:
        """Stop waiting because the deadline passed; a run that is under way goes on.

        Returns:
            Whether the caller may leave; if not, the outcome is settled and arrives at once.
        """
        with self._changed:
            if request.ended:
                return False
            request.given_up = True
        request.future.cancel()
        return True

    def put(self, request: Request, image: NDArray[np.uint8]) -> None:
        """Make a request for `image` ready on the place that was reserved for it.

        Raises:
            ClosedError: the queue was closed meanwhile, and not to be drained.
        """
        with self._changed:
            if self._closed and not self._drains:
                error = closed_error(self._closed)
                self.release(request, "cancelled", error)
                raise error
            request.image, request.ready = image, time.monotonic()
            self._ready.append(request)
            self._changed.notify_all()
        request.future.add_done_callback(lambda future: self._drop(request, future))

    def take(self, most: int, batch_timeout: float) -> list[Request]:
        """Wait for requests and take the oldest: `most`, or fewer when the first waited so long.

        Requests that are cancelled or too late are left out, and so are those that a batch of the
        usual time would answer too late, if others wait behind them. Under more load than the model
        can bear all time would go into answers that come too late.

        Returns:
            The requests, marked as running; none when the queue is closed and empty.
        """
        most = min(most, self._limit)
        while True:
            with self._changed:
                self._wait(most, batch_timeout)
                oldest = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
                self._move(-len(oldest))
                is_over = not oldest
            wanted = [request for request in oldest if self._is_wanted(request)]
            if wanted:
                self._count_batch(wanted)
            if wanted or is_over:
                return wanted

    def ran(self, seconds: float) -> None:
        """Learn how long a batch takes: running mean, and mean absolute deviation from it."""
        with self._changed:
            if self._mean == 0.0:
                self._mean = seconds
            self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
            self._mean += (seconds - self._mean) / 8

    def close(self, why: str, *, drain: bool) -> None:
        """Take no more requests; without `drain`, those that wait get a `ClosedError`."""
        with self._changed:
            self._closed, self._drains = self._closed or why, drain
            dropped = [] if drain else list(self._ready)
            self._ready = self._ready if drain else deque()
            self._changed.notify_all()
        for request in dropped:
            if request.future.set_running_or_notify_cancel():
                error = closed_error(why)
                self.release(request, "cancelled", error)
                request.future.set_exception(error)
            else:
                self.release(request, "cancelled")

    def stats(self) -> BatchingStats:
        """The counts now."""
        with self._changed:
            return BatchingStats(**self._counts, waiting=self._places)

    def _wait(self, most: int, batch_timeout: float) -> None:
        """Until a batch is full or its first request waited long enough, or all is over."""
        while not self._ready and not (self._closed and self._places == 0):
            self._changed.wait()
        while self._ready and len(self._ready) < most and not self._closed:
            remaining = self._ready[0].arrived + batch_timeout - time.monotonic()
            if remaining <= 0:
                return
            self._changed.wait(remaining)

    def _is_wanted(self, request: Request) -> bool:
        """Whether its caller still waits for it; if so it can no longer be cancelled."""
        if not request.future.set_running_or_notify_cancel():
            self.end(request, "cancelled")
            return False
        # The last in the queue is tried in any case: else one slow batch could end all others.
        usual = self._mean + 2 * self._deviation if self._ready else 0.0
        if request.expired(within=usual):
            error = deadline_error(request)
            self.end(request, "expired", error)
            request.future.set_exception(error)
            return False
        return True

    def _drop(self, request: Request, future: Future[Detections]) -> None:
        """Free the place of a request that was cancelled while it waited."""
        with self._changed:
            if future.cancelled() and request in self._ready:
                self._ready.remove(request)
                self.release(request, "cancelled")

    def _move(self, places: int) -> None:
        """Take or give back places, with the lock: observers hear of them in their order."""
        self._places += places
        notify(self._observer.queue_changed, self._places)

    def _count_batch(self, requests: list[Request]) -> None:
        """Count what was taken."""
        with self._changed:
            self._count(batches=1, images=len(requests))
        notify(self._observer.batch_taken, len(requests))
        now = time.monotonic()
        for request in requests:
            notify(self._observer.stage_ended, "queue", now - request.ready)

    def _count(self, **counts: int) -> None:
        for name, count in counts.items():
            self._counts[name] = self._counts.get(name, 0) + count


def closed_error(why: str) -> ClosedError:
    """The error for a request that came too late for a closed queue."""
    return ClosedError(f"batching segmenter: expected an open one, found it {why}; make a new one")


def deadline_error(request: Request) -> DeadlineError:
    """The error for a request whose deadline has passed."""
    return DeadlineError(
        f"request: expected an answer within {request.timeout} s, found none; come back later, or "
        "give it more time"
    )
