"""Single images of many callers, answered in batches by one model."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from ..artifact.manifest import Manifest
from ..artifact.tensors import group_by_size
from ..backends import DEFAULT_MAX_BATCH_PIXELS
from ..batches import run_isolated, usual_batch_size
from ..detections import Detections
from ..errors import InputError
from ..images import Source
from ..lifecycle import Closeable, WorkerThread, call_after_fork
from .observer import Observer, notify
from .requests import BatchingStats, Request, RequestQueue, deadline_error


class Predictor(Protocol):
    """What can be batched: a `Segmenter`, or a `ShadowSegmenter` around one."""

    @property
    def manifest(self) -> Manifest:
        """See `Segmenter`."""

    @property
    def provider(self) -> str:
        """See `Segmenter`."""

    def read(self, image: Source, name: str = "image") -> NDArray[np.uint8]:
        """See `Segmenter.read`."""

    def check_threshold(self, score_threshold: float | None) -> None:
        """See `Segmenter.check_threshold`."""

    @overload
    def predict(
        self,
        images: list[NDArray[np.uint8]],
        *,
        score_threshold: float | None = None,
        batch_size: int | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> list[Detections]: ...

    @overload
    def predict(
        self,
        images: list[NDArray[np.uint8]],
        *,
        score_threshold: float | None = None,
        batch_size: int | None = None,
        on_error: Literal["return"],
    ) -> list[Detections | Exception]: ...


class BatchingSegmenter(Closeable):
    """Collects concurrent calls into batches, which use a GPU better than one image at a time.

        with Segmenter.load("pedseg.onnx") as segmenter, BatchingSegmenter(segmenter) as batching:
            detections = batching("street.jpg", timeout=2.0)  # from any thread
            detections = await batching.asegment(upload)  # from a coroutine

    A call reserves a place in the queue, decodes its image in its own thread and waits. One thread
    runs the model: it takes waiting images in the order of their arrival, up to `max_batch_size`,
    as soon as there are so many or the first has waited `batch_timeout`. Of these, images of one
    size share a run of up to `max_batch_pixels`. If a run of several fails, each is tried alone, so
    that one image costs no other caller its answer.

    A forked child cannot use it and gets a `ClosedError`. `close` leaves the segmenter open:
    its owner closes it.
    """

    def __init__(
        self,
        segmenter: Predictor,
        *,
        max_batch_size: int | None = None,
        max_batch_pixels: int | None = DEFAULT_MAX_BATCH_PIXELS,
        batch_timeout: float = 0.002,
        queue_limit: int = 64,
        observer: Observer | None = None,
    ) -> None:
        """Start the thread that runs the model.

        Args:
            segmenter: what answers; other callers may use it too.
            max_batch_size: most images that are taken at once; memory grows with it. None takes 1
                on a CPU, where batches bring nothing, and else 8.
            max_batch_pixels: most pixels in a run of several images; an image of more runs alone.
                None sets no limit.
            batch_timeout: longest time in seconds that an image waits for company.
            queue_limit: most requests that may wait; one more gets a `QueueFullError`.
            observer: is told of requests, batches and times, e.g. `PrometheusMetrics`.

        Raises:
            InputError: a number that is not positive.
        """
        for name, value in (
            ("max_batch_size", max_batch_size),
            ("max_batch_pixels", max_batch_pixels),
            ("queue_limit", queue_limit),
        ):
            if value is not None and value < 1:
                raise InputError(f"{name}: expected a positive number, found {value}")
        if batch_timeout < 0:
            raise InputError(f"batch_timeout: expected 0 or more seconds, found {batch_timeout}")
        most = max_batch_size or usual_batch_size(
            segmenter.provider, segmenter.manifest.static_shape
        )
        self._segmenter, self._observer = segmenter, Observer() if observer is None else observer
        self._queue = RequestQueue(queue_limit, self._observer)
        queue, watch = self._queue, self._observer
        notify(watch.started, segmenter.manifest, segmenter.provider, "primary")
        self._worker = WorkerThread(
            self,
            "pedseg-batching",
            work=lambda: run_batches(
                queue, segmenter, most, max_batch_pixels, batch_timeout, watch
            ),
            stop=lambda: queue.close("forgotten by its owner", drain=False),
        )
        call_after_fork(self)

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""
        return self._segmenter.manifest

    @property
    def provider(self) -> str:
        """What really runs it."""
        return self._segmenter.provider

    def __call__(
        self,
        image: Source,
        *,
        score_threshold: float | None = None,
        timeout: float | None = None,
    ) -> Detections:
        """Segment one image and wait for it.

        Args:
            image: see `read_image` for what it may be.
            score_threshold: see `Segmenter.predict`.
            timeout: seconds from now; None waits as long as it takes.

        Raises:
            ClosedError: the batching segmenter is closed, or a forked process inherited it.
            DeadlineError: there was no answer within `timeout`.
            InputError: the image or an argument cannot be used.
            QueueFullError: too many requests are waiting.
        """
        request = self._submit(image, score_threshold, timeout)
        try:
            return request.future.result(request.remaining())
        except concurrent.futures.TimeoutError as error:
            if self._queue.give_up(request):
                raise deadline_error(request) from error
            return request.future.result()

    def submit(
        self,
        image: Source,
        *,
        score_threshold: float | None = None,
        timeout: float | None = None,
    ) -> Future[Detections]:
        """Segment one image without waiting for it; cancelling the future frees its place.

        The image is decoded before this returns. Arguments and errors are those of a call; after
        it returned, the errors are in the future.
        """
        return self._submit(image, score_threshold, timeout).future

    async def asegment(
        self,
        image: Source,
        *,
        score_threshold: float | None = None,
        timeout: float | None = None,
    ) -> Detections:
        """The same for coroutines: nothing blocks the event loop, cancelling frees the place."""
        import asyncio

        request = self._reserve(score_threshold, timeout)
        try:
            await asyncio.to_thread(self._fill, request, image)
            answer = asyncio.wrap_future(request.future)
            await asyncio.wait([answer], timeout=request.remaining())
        except asyncio.CancelledError:
            request.future.cancel()
            raise
        if not answer.done() and self._queue.give_up(request):
            raise deadline_error(request)
        await asyncio.wait([answer])  # settled, if it is not there yet
        error = answer.exception()
        if error is not None and not isinstance(error, Exception):
            # A SystemExit of the model's thread would end the event loop.
            raise RuntimeError(f"the run ended with {error!r}") from error
        return answer.result()

    def stats(self) -> BatchingStats:
        """Counts of requests and batches since the start."""
        return self._queue.stats()

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests, and end the thread; closing twice is fine.

        Args:
            drain: answer those that wait; otherwise they get a `ClosedError`. A run that is under
                way is finished either way.
        """
        self._queue.close("closed", drain=drain)
        self._worker.join()

    def _submit(
        self, image: Source, score_threshold: float | None, timeout: float | None
    ) -> Request:
        request = self._reserve(score_threshold, timeout)
        self._fill(request, image)
        return request

    def _reserve(self, score_threshold: float | None, timeout: float | None) -> Request:
        """A request with a place in the queue and no image yet."""
        request = Request(timeout, score_threshold)
        try:
            self._segmenter.check_threshold(score_threshold)
            self._queue.reserve()
        except Exception as error:
            self._queue.end(request, "rejected", error)
            raise
        return request

    def _fill(self, request: Request, image: Source) -> None:
        """Decode an image on the place that is reserved for it, and make its request ready."""
        try:
            with self._observer.stage("decode"):
                pixels = self._segmenter.read(image)
        except BaseException as error:
            self._queue.release(request, "failed", error)
            raise
        self._queue.put(request, pixels)

    def _after_fork(self) -> None:
        """Forget the queue, whose lock another thread may have held, and the thread, which is gone.

        The waiting callers of the parent are not here: the forked process has one thread.
        """
        self._observer = Observer()  # the locks of the other may be held as well
        self._queue = RequestQueue(1)
        self._queue.close("inherited from the process that forked this one", drain=False)
        self._worker.abandon()


def run_batches(
    queue: RequestQueue,
    segmenter: Predictor,
    max_batch_size: int,
    max_batch_pixels: int | None,
    batch_timeout: float,
    observer: Observer,
) -> None:
    """What the thread does until the queue is closed and empty."""
    while requests := queue.take(max_batch_size, batch_timeout):
        start = time.monotonic()
        _answer(requests, queue, segmenter, max_batch_pixels, observer)
        queue.ran(time.monotonic() - start)
        del requests  # an idle thread would keep its last images


def _answer(
    requests: list[Request],
    queue: RequestQueue,
    segmenter: Predictor,
    max_batch_pixels: int | None,
    observer: Observer,
) -> None:
    """Run what was taken, the images of one size together, and give every caller its own."""
    sizes = [request.image.shape for request in requests]
    for group in group_by_size(sizes, len(requests), max_batch_pixels):
        members = [requests[index] for index in group]
        # Any error: if the thread dies, all callers wait for ever.
        outcomes = run_isolated(members, partial(_run, segmenter, observer), catch=BaseException)
        for request, outcome in zip(members, outcomes, strict=True):
            # Its caller may keep the future, and by that the request, for long.
            request.image = np.empty((0, 0, 3), np.uint8)
            if isinstance(outcome, BaseException):
                queue.end(request, "failed", outcome)
                request.future.set_exception(_deliverable(outcome))
            else:
                queue.end(request, "answered")
                request.future.set_result(outcome)


def _deliverable(error: BaseException) -> BaseException:
    """The error, but none that a coroutine cannot get: its caller would wait for ever."""
    if not isinstance(error, StopIteration):
        return error
    replaced = RuntimeError("the run ended with StopIteration")
    replaced.__cause__ = error
    return replaced


def _run(segmenter: Predictor, observer: Observer, members: Sequence[Request]) -> list[Detections]:
    """Detections of images of one size, each above its own caller's threshold."""
    images = [request.image for request in members]
    with observer.stage("run"):
        if len(members) == 1:
            return segmenter.predict(images, score_threshold=members[0].score_threshold)
        results = segmenter.predict(images, batch_size=len(images))
    return [
        found if request.score_threshold is None else found.above(request.score_threshold)
        for request, found in zip(members, results, strict=True)
    ]
