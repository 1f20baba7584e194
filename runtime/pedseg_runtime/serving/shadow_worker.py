"""The thread of a `ShadowSegmenter`: it runs the reference and compares the answers."""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..parity import ParityReport, Tolerances, compare
from .batching import Predictor
from .observer import Observer, notify

logger = logging.getLogger(__name__)


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
        """The same as plain values; for Prometheus see `PrometheusMetrics`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class _Sample:
    image: NDArray[np.uint8]
    answer: Detections
    score_threshold: float | None


class ShadowWorker:
    """The reference, its queue and the counts; all that the thread refers to."""

    def __init__(
        self,
        reference: Predictor,
        *,
        max_share: float,
        queue_limit: int,
        on_mismatch: Callable[[ParityReport], object] | None,
        tolerances: Tolerances,
        observer: Observer,
    ) -> None:
        self._reference, self._max_share = reference, max_share
        self._on_mismatch, self._tolerances = on_mismatch, tolerances
        self._observer = observer
        self._samples: queue.Queue[_Sample | None] = queue.Queue(queue_limit)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._report = ShadowReport()

    def offer(self, image: NDArray[np.uint8], answer: Detections, threshold: float | None) -> None:
        """Queue a copy of the image, whose owner may go on to change it, or drop it."""
        self.count(sampled=1)
        if self._samples.full() or self._stopped.is_set():
            self._drop()
            return
        try:
            self._samples.put_nowait(_Sample(image.copy(), answer, threshold))
        except queue.Full:  # another thread was faster
            self._drop()

    def work(self) -> None:
        """Compare samples until `stop`, resting as much as the share of time asks for."""
        while (sample := self._samples.get()) is not None and not self._stopped.is_set():
            start = time.monotonic()
            self._examine(sample)
            spent = time.monotonic() - start
            notify(self._observer.stage_ended, "reference", spent)
            self._stopped.wait(spent * (1 - self._max_share) / self._max_share)
        if sample is not None:
            self._drop()
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

    def _drop(self) -> None:
        self.count(dropped=1)
        notify(self._observer.sample_ended, "dropped")

    def _drop_one(self) -> None:
        try:
            if self._samples.get_nowait() is not None:
                self._drop()
        except queue.Empty:
            pass

    def _examine(self, sample: _Sample) -> None:
        """Ask the reference and compare; its errors reach the log alone."""
        try:
            (expected,) = self._reference.predict(
                [sample.image], score_threshold=sample.score_threshold
            )
            report = self._compare(expected, sample)
        except BaseException as error:  # no error of the service, and the thread must live on
            logger.warning("the reference of a shadow failed: %s", error)
            with self._lock:
                self._report = dataclasses.replace(self._report, last_failure=str(error))
            self.count(failures=1)
            notify(self._observer.sample_ended, "failed")
            return
        # No detection on either side is agreement; a comparison alone counts it as no evidence.
        agrees = bool(report) or (len(expected) == 0 and len(sample.answer) == 0)
        self._record(report, agrees)
        notify(self._observer.sample_ended, "agreed" if agrees else "mismatched")
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
            min_size=manifest.min_size,
            max_size=manifest.max_size,
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
