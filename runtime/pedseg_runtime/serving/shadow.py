"""A second opinion on what is answered in production, in the background."""

from __future__ import annotations

import dataclasses
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import ClosedError, InputError
from ..forks import watch
from ..images import Source
from ..manifest import Manifest
from ..parity import TOLERANCES, ParityReport, Tolerances, compare
from .batching import Predictor
from .worker import Worker

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "bf16", "int8")  # from the narrowest limits to the widest


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What the shadow has seen since the start.

    Attributes:
        images: images that the primary answered.
        sampled: of these, the ones that were chosen. Each of them is dropped, compared or failed,
            or still waits.
        dropped: chosen while too many waited.
        compared: answered by the reference too.
        mismatches: compared, with at least one defect.
        failures: the reference raised an error.
        differences: field -> the largest difference seen, in the unit of its limit.
        last_mismatch: summary of the latest one; empty if there was none.
        last_failure: the latest error of the reference; empty if there was none.
    """

    images: int = 0
    sampled: int = 0
    dropped: int = 0
    compared: int = 0
    mismatches: int = 0
    failures: int = 0
    differences: dict[str, float] = field(default_factory=dict)
    last_mismatch: str = ""
    last_failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, e.g. for a page of metrics."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class _Sample:
    image: NDArray[np.uint8]
    answer: Detections
    score_threshold: float | None


class ShadowSegmenter:
    """Answers with one segmenter and compares a sample of its answers with another's.

        with ShadowSegmenter(on_cuda_fp16, on_cpu_fp32, rate=0.01) as shadow:
            detections = shadow(image)
            shadow.report().mismatches

    It is used like a `Segmenter`, and a `BatchingSegmenter` can be put around it. What a caller
    pays for: one copy of the image if it is sampled (a memcpy of its pixels), and the machine's
    time that the reference takes meanwhile. The reference runs in one thread that works at most
    `max_share` of the time, so where both share a CPU a caller is slowed down by that share on
    average, and by one concurrent run at worst. Nobody ever waits for the reference: what finds no
    place in its queue is dropped and counted.

    A forked child still gets answers from a primary that it loaded itself, but no more samples are
    taken there. `close` leaves both segmenters open: whoever made them closes them.
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

        Raises:
            InputError: a number out of its range, or artifacts of other classes.
        """
        _check(primary, reference, rate, max_share, queue_limit)
        self._primary, self._rate = primary, rate
        self._random = random.Random(seed)
        self._shadow: _Shadow | None = _Shadow(
            reference,
            max_share=max_share,
            queue_limit=queue_limit,
            on_mismatch=on_mismatch,
            tolerances=tolerances or _tolerances(primary, reference),
        )
        shadow = self._shadow
        self._worker = Worker(self, "pedseg-shadow", work=shadow.work, stop=shadow.stop)
        watch(self)

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

    def predict(
        self,
        images: Iterable[Source],
        *,
        score_threshold: float | None = None,
        batch_size: int = 8,
    ) -> list[Detections]:
        """Segment images with the primary, and sample some; see `Segmenter.predict`."""
        arrays = [self.read(image, f"image {index}") for index, image in enumerate(images)]
        answers = self._primary.predict(
            arrays, score_threshold=score_threshold, batch_size=batch_size
        )
        shadow = self._shadow
        if shadow is not None:
            shadow.count(images=len(arrays))
            for array, answer in zip(arrays, answers, strict=True):
                if self._random.random() < self._rate:
                    shadow.offer(array, answer, score_threshold)
        return answers

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _forked(self) -> None:
        self._shadow = None
        self._worker.abandon()


class _Shadow:
    """The reference, its queue and what was seen; what the thread knows."""

    def __init__(
        self,
        reference: Predictor,
        *,
        max_share: float,
        queue_limit: int,
        on_mismatch: Callable[[ParityReport], object] | None,
        tolerances: Tolerances,
    ) -> None:
        self._reference, self._max_share = reference, max_share
        self._on_mismatch, self._tolerances = on_mismatch, tolerances
        self._samples: queue.Queue[_Sample | None] = queue.Queue(queue_limit)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._report = ShadowReport()

    def offer(self, image: NDArray[np.uint8], answer: Detections, threshold: float | None) -> None:
        """Queue a copy of the image, whose owner may go on to change it, or drop it."""
        if self._samples.full() or self._stopped.is_set():
            self.count(sampled=1, dropped=1)
            return
        try:
            self._samples.put_nowait(_Sample(image.copy(), answer, threshold))
            self.count(sampled=1)
        except queue.Full:  # somebody else was faster
            self.count(sampled=1, dropped=1)

    def work(self) -> None:
        """Compare samples until `stop`, resting as much as the share of time asks for."""
        while (sample := self._samples.get()) is not None and not self._stopped.is_set():
            start = time.monotonic()
            self._examine(sample)
            spent = time.monotonic() - start
            self._stopped.wait(spent * (1 - self._max_share) / self._max_share)
        self.count(dropped=int(sample is not None))
        while not self._samples.empty():
            self._drop_one()

    def stop(self) -> None:
        """Make `work` return after the comparison it is in; what waits is dropped."""
        self._stopped.set()
        while True:
            try:
                self._samples.put_nowait(None)
                return
            except queue.Full:
                self._drop_one()

    def count(self, **counts: int) -> None:
        """Add to the counts."""
        with self._lock:
            added = {name: getattr(self._report, name) + count for name, count in counts.items()}
            self._report = dataclasses.replace(self._report, **added)

    def report(self) -> ShadowReport:
        """What was seen so far."""
        with self._lock:
            return dataclasses.replace(self._report, differences=dict(self._report.differences))

    def _drop_one(self) -> None:
        try:
            if self._samples.get_nowait() is not None:
                self.count(dropped=1)
        except queue.Empty:
            pass

    def _examine(self, sample: _Sample) -> None:
        """Ask the reference and compare; nothing that it raises reaches anybody but the log."""
        try:
            (expected,) = self._reference.predict(
                [sample.image], score_threshold=sample.score_threshold
            )
            report = self._compare(expected, sample)
        except Exception as error:  # an error of the shadow is no error of the service
            logger.warning("the reference of a shadow failed: %s", error)
            with self._lock:
                self._report = dataclasses.replace(self._report, last_failure=str(error))
            self.count(failures=1)
            return
        # Nobody on either side is agreement, where a comparison alone has shown nothing.
        agrees = bool(report) or (len(expected) == 0 and len(sample.answer) == 0)
        self._record(report, agrees)
        if not agrees and self._on_mismatch is not None:
            try:
                self._on_mismatch(report)
            except Exception:  # the user's own code, in a thread that must not die of it
                logger.exception("on_mismatch of a shadow failed")

    def _compare(self, expected: Detections, sample: _Sample) -> ParityReport:
        manifest = self._reference.manifest
        threshold = sample.score_threshold
        return compare(
            [expected],
            [sample.answer],
            tolerances=self._tolerances,
            score_threshold=manifest.score_threshold if threshold is None else threshold,
            nms_threshold=manifest.nms_threshold,
            detections_per_image=manifest.detections_per_image,
        )

    def _record(self, report: ParityReport, agrees: bool) -> None:
        with self._lock:
            differences = dict(self._report.differences)
            for found in report.fields:
                differences[found.name] = max(differences.get(found.name, 0.0), found.max)
            self._report = dataclasses.replace(
                self._report,
                compared=self._report.compared + 1,
                mismatches=self._report.mismatches + (not agrees),
                differences=differences,
                last_mismatch=self._report.last_mismatch if agrees else report.summary(),
            )


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
