"""What happens while many callers are served, told to whoever wants to count it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, ParamSpec, TypeAlias

from ..artifact.manifest import Manifest

logger = logging.getLogger(__name__)

Outcome: TypeAlias = Literal["answered", "failed", "expired", "cancelled", "rejected"]
"""How a request ended, in the words of `BatchingStats`."""
SampleOutcome: TypeAlias = Literal["agreed", "mismatched", "failed", "dropped"]
"""How a sample of a shadow ended, see `ShadowReport`."""
Role: TypeAlias = Literal["primary", "reference"]

_P = ParamSpec("_P")


class Observer:
    """Is told what happens in a `BatchingSegmenter` or `ShadowSegmenter`; override what you need.

    The methods do nothing here. Each is called in the thread where it happens, some while the queue
    is locked: they must be quick and must not call the segmenter. What they raise is logged.
    `PrometheusMetrics` is an observer that counts for Prometheus.
    """

    def started(self, manifest: Manifest, provider: str, role: Role) -> None:
        """A segmenter is ready: what it answers with, or the reference of a shadow."""

    def request_ended(self, outcome: Outcome, seconds: float, error: BaseException | None) -> None:
        """A request ended, `seconds` after its arrival; its caller learns of it after this.

        `error` is what the caller gets; None for one that is answered or was cancelled.
        """

    def queue_changed(self, waiting: int) -> None:
        """So many requests have a place now and are not being run."""

    def batch_taken(self, images: int) -> None:
        """So many images were taken from the queue at once."""

    def stage_ended(self, stage: str, seconds: float) -> None:
        """A stage took so long.

        Stages are `decode` (one image, also one that is refused), `queue` (one image, from decoded
        to taken), `run` (images of one size) and `reference` (one sample of a shadow, with the
        comparison). A service may add its own.
        """

    def sample_ended(self, outcome: SampleOutcome) -> None:
        """A sample of a shadow was compared, dropped, or failed in the reference."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block as a stage, however it ends."""
        start = time.perf_counter()
        try:
            yield
        finally:
            notify(self.stage_ended, name, time.perf_counter() - start)


def notify(event: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
    """Call a method of an observer; its errors must not reach those it watches."""
    try:
        event(*args, **kwargs)
    except Exception:
        logger.exception("an observer failed")
