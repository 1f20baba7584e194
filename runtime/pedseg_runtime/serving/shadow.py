"""A second opinion on what is answered in production, in the background."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from ..artifact.manifest import Manifest
from ..batches import OnError, read_each
from ..detections import Detections
from ..errors import ClosedError, InputError
from ..images import Source
from ..lifecycle import Closeable, WorkerThread, call_after_fork
from ..parity import TOLERANCES, ParityReport, Tolerances
from .batching import Predictor
from .observer import Observer, notify
from .shadow_worker import ShadowReport, ShadowWorker

PRECISIONS = ("fp32", "fp16", "bf16", "int8")  # from the narrowest limits to the widest


class ShadowSegmenter(Closeable):
    """Answers with one segmenter and compares a sample of its answers with another's.

        with ShadowSegmenter(on_cuda_fp16, on_cpu_fp32, rate=0.01) as shadow:
            detections = shadow(image)
            shadow.report().mismatches

    It is used like a `Segmenter`, and a `BatchingSegmenter` can be put around it. What a caller
    pays for: one copy of the image if it is sampled (a memcpy of its pixels), and the machine's
    time that the reference takes meanwhile. The reference runs in one thread that works at most
    `max_share` of the time, so where both share a CPU a caller is slowed down by that share on
    average, and by one concurrent run at worst. No caller ever waits for the reference: a sample
    that finds its queue full is dropped and counted.

    A forked child still gets answers from a primary that it loaded itself, but no more samples are
    taken there. `close` leaves both segmenters open: they are closed by their owner.
    """

    def __init__(
        self,
        primary: Predictor,
        reference: Predictor,
        *,
        rate: float = 0.01,
        max_share: float = 0.05,
        queue_limit: int = 2,
        on_mismatch: Callable[[ParityReport], object] | None = None,
        tolerances: Tolerances | None = None,
        seed: int | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Start the thread that runs the reference.

        Args:
            primary: what answers.
            reference: what it is compared with: another artifact of the same checkpoint, or the
                same on another device.
            rate: probability that an image is sampled, 0 to 1.
            max_share: most of the time that the reference may run, above 0, up to 1.
            queue_limit: most samples that may wait.
            on_mismatch: called with the report of every comparison that found a defect, in the
                thread of the reference.
            tolerances: limits per field; by default those of the less precise of both artifacts.
            seed: of the choice of samples; None chooses anew in every process.
            observer: is told of samples and times, e.g. `PrometheusMetrics`.

        Raises:
            InputError: a number out of its range, or artifacts of other classes.
        """
        _check(primary, reference, rate, max_share, queue_limit)
        self._primary, self._rate = primary, rate
        self._random = random.Random(seed)
        observer = Observer() if observer is None else observer
        self._shadow: ShadowWorker | None = ShadowWorker(
            reference,
            max_share=max_share,
            queue_limit=queue_limit,
            on_mismatch=on_mismatch,
            tolerances=tolerances or _tolerances(primary, reference),
            observer=observer,
        )
        notify(observer.started, primary.manifest, primary.provider, "primary")
        notify(observer.started, reference.manifest, reference.provider, "reference")
        shadow = self._shadow
        self._worker = WorkerThread(self, "pedseg-shadow", work=shadow.work, stop=shadow.stop)
        call_after_fork(self)

    @property
    def manifest(self) -> Manifest:
        """What the primary's artifact says of itself."""
        return self._primary.manifest

    @property
    def provider(self) -> str:
        """What really runs the primary."""
        return self._primary.provider

    def __call__(self, image: Source) -> Detections:
        """Segment one image with the primary; see `Segmenter`."""
        return self.predict([image])[0]

    @overload
    def predict(
        self,
        images: Iterable[Source],
        *,
        score_threshold: float | None = None,
        batch_size: int | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> list[Detections]: ...

    @overload
    def predict(
        self,
        images: Iterable[Source],
        *,
        score_threshold: float | None = None,
        batch_size: int | None = None,
        on_error: Literal["return"],
    ) -> list[Detections | Exception]: ...

    def predict(
        self,
        images: Iterable[Source],
        *,
        score_threshold: float | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> list[Detections] | list[Detections | Exception]:
        """Segment images with the primary, and sample some; see `Segmenter.predict`."""
        arrays, outcomes = read_each(self.read, images, on_error)
        answers = self._primary.predict(
            list(arrays.values()),
            score_threshold=score_threshold,
            batch_size=batch_size,
            on_error=on_error,
        )
        outcomes |= zip(arrays, answers, strict=True)
        self._sample(arrays, outcomes, score_threshold)
        return [outcomes[index] for index in range(len(outcomes))]

    def read(self, image: Source, name: str = "image") -> NDArray[np.uint8]:
        """See `Segmenter.read`."""
        return self._primary.read(image, name)

    def check_threshold(self, score_threshold: float | None) -> None:
        """See `Segmenter.check_threshold`."""
        self._primary.check_threshold(score_threshold)

    def report(self) -> ShadowReport:
        """What was seen since the start.

        Raises:
            ClosedError: in a forked child, where the counts are not.
        """
        if self._shadow is None:
            raise ClosedError(
                "shadow: expected the process that made it, found one that was forked from it; "
                "make another here"
            )
        return self._shadow.report()

    def close(self) -> None:
        """End the thread after the comparison it is in; samples that wait are dropped."""
        if self._shadow is not None:
            self._shadow.stop()
            self._worker.join()

    def _sample(
        self,
        arrays: Mapping[int, NDArray[np.uint8]],
        outcomes: Mapping[int, Detections | Exception],
        score_threshold: float | None,
    ) -> None:
        shadow = self._shadow
        if shadow is None:
            return
        for index, array in arrays.items():
            answer = outcomes[index]
            if isinstance(answer, Detections):
                shadow.count(images=1)
                if self._random.random() < self._rate:
                    shadow.offer(array, answer, score_threshold)

    def _after_fork(self) -> None:
        self._shadow = None
        self._worker.abandon()


def _check(
    primary: Predictor, reference: Predictor, rate: float, max_share: float, queue_limit: int
) -> None:
    if not 0 <= rate <= 1:
        raise InputError(f"rate: expected 0 to 1, found {rate}")
    if not 0 < max_share <= 1:
        raise InputError(f"max_share: expected above 0, up to 1, found {max_share}")
    if queue_limit < 1:
        raise InputError(f"queue_limit: expected a positive number, found {queue_limit}")
    ours, theirs = primary.manifest.class_names, reference.manifest.class_names
    if ours != theirs:
        raise InputError(
            f"reference: expected the primary's classes {list(ours)}, found {list(theirs)}; "
            "compare artifacts of one checkpoint"
        )


def _tolerances(primary: Predictor, reference: Predictor) -> Tolerances:
    """The limits of the less precise of both artifacts."""
    precisions = (primary.manifest.precision, reference.manifest.precision)
    return TOLERANCES[max(precisions, key=PRECISIONS.index)]
