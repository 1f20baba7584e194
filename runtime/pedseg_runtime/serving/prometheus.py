"""Metrics of serving for Prometheus, by its own client library."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .._version import __version__
from ..artifact.manifest import Manifest
from ..errors import InputError
from .observer import Observer, Outcome, Role, SampleOutcome

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_NAMESPACE = "pedseg"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)
# Series that begin at 0: `rate` and `increase` do not see the first event of one that begins at 1.
_USUAL_ENDS = (
    ("answered", ""),
    ("failed", "InputError"),
    ("failed", "DeviceError"),
    ("expired", "DeadlineError"),
    ("rejected", "QueueFullError"),
)
_SAMPLE_ENDS: tuple[SampleOutcome, ...] = ("agreed", "mismatched", "failed", "dropped")


class PrometheusMetrics(Observer):
    """Counts what a `BatchingSegmenter` or `ShadowSegmenter` does, for Prometheus to scrape.

        metrics = PrometheusMetrics()
        with BatchingSegmenter(segmenter, observer=metrics) as batching:
            prometheus_client.start_http_server(9000, registry=metrics.registry)

    The metrics, each with the label `segmenter`:

    - `pedseg_requests_total` by `outcome` (of `BatchingStats`) and `error`, the class of the error
      that the caller got;
    - `pedseg_request_duration_seconds`, a histogram from arrival to answer, of answered requests;
    - `pedseg_queue_length`, the requests that wait;
    - `pedseg_batch_size`, a histogram of the images that were taken at once;
    - `pedseg_stage_duration_seconds`, a histogram by `stage`, see `Observer.stage_ended`;
    - `pedseg_shadow_samples_total` by `outcome`: agreed, mismatched, failed, dropped;
    - `pedseg_segmenter_info` by `role`: provider, architecture, precision, format, the digest of
      the checkpoint, the version of pedseg.

    Attributes:
        registry: what holds the metrics; `prometheus_client.generate_latest(registry)` writes them.
        segmenter: the value of the label.
    """

    def __init__(
        self, *, segmenter: str = "default", registry: CollectorRegistry | None = None
    ) -> None:
        """Register the metrics.

        Args:
            segmenter: value of the label; for another segmenter in this process see `named`.
            registry: where to register; None makes one of its own.

        Raises:
            InputError: prometheus-client is not installed, or the registry has such metrics.
        """
        try:
            from prometheus_client import CollectorRegistry
        except ImportError as error:
            raise InputError(
                f"PrometheusMetrics: expected prometheus-client, found none ({error}); pip install "
                "'pedseg[prometheus]'"
            ) from error
        self.segmenter = segmenter
        self.registry = CollectorRegistry() if registry is None else registry
        try:
            self._register()
        except ValueError as error:
            raise InputError(
                "registry: expected one without metrics of pedseg, found that it has them; use "
                "named() of the PrometheusMetrics that registered them"
            ) from error

    def _register(self) -> None:
        from prometheus_client import Counter, Gauge, Histogram, Info

        registry = self.registry
        counter = partial(Counter, namespace=_NAMESPACE, registry=registry)
        histogram = partial(Histogram, namespace=_NAMESPACE, registry=registry)
        self._info = Info(
            "segmenter",
            "What answers",
            ("segmenter", "role"),
            namespace=_NAMESPACE,
            registry=registry,
        )
        self._queue = Gauge(
            "queue_length",
            "Requests that wait",
            ("segmenter",),
            namespace=_NAMESPACE,
            registry=registry,
        )
        self._requests = counter(
            "requests", "Requests that ended", ("segmenter", "outcome", "error")
        )
        self._request_seconds = histogram(
            "request_duration_seconds",
            "Seconds from arrival to answer of answered requests",
            ("segmenter",),
            buckets=_SECONDS,
        )
        self._batches = histogram(
            "batch_size", "Images taken from the queue at once", ("segmenter",), buckets=_IMAGES
        )
        self._stage_seconds = histogram(
            "stage_duration_seconds", "Seconds of a stage", ("segmenter", "stage"), buckets=_SECONDS
        )
        self._samples = counter(
            "shadow_samples", "Samples that a shadow has done with", ("segmenter", "outcome")
        )

    def named(self, segmenter: str) -> PrometheusMetrics:
        """The same metrics for another segmenter: an observer with another value of the label."""
        other = object.__new__(PrometheusMetrics)
        other.__dict__.update(self.__dict__, segmenter=segmenter)
        return other

    def started(self, manifest: Manifest, provider: str, role: Role) -> None:
        """See `Observer`."""
        self._info.labels(self.segmenter, role).info(
            {
                "provider": provider,
                "architecture": manifest.architecture,
                "precision": manifest.precision,
                "format": manifest.format,
                "checkpoint_sha256": manifest.checkpoint_sha256,
                "version": __version__,
            }
        )
        if role == "reference":
            for outcome in _SAMPLE_ENDS:
                self._samples.labels(self.segmenter, outcome)
        else:
            for ending in _USUAL_ENDS:
                self._requests.labels(self.segmenter, *ending)

    def request_ended(self, outcome: Outcome, seconds: float, error: BaseException | None) -> None:
        """See `Observer`."""
        kind = "" if error is None else type(error).__name__
        self._requests.labels(self.segmenter, outcome, kind).inc()
        if outcome == "answered":
            self._request_seconds.labels(self.segmenter).observe(seconds)

    def queue_changed(self, waiting: int) -> None:
        """See `Observer`."""
        self._queue.labels(self.segmenter).set(waiting)

    def batch_taken(self, images: int) -> None:
        """See `Observer`."""
        self._batches.labels(self.segmenter).observe(images)

    def stage_ended(self, stage: str, seconds: float) -> None:
        """See `Observer`."""
        self._stage_seconds.labels(self.segmenter, stage).observe(seconds)

    def sample_ended(self, outcome: SampleOutcome) -> None:
        """See `Observer`."""
        self._samples.labels(self.segmenter, outcome).inc()
