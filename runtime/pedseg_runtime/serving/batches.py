"""What the thread of a `BatchingSegmenter` does: take requests, run them, answer each caller."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..grouping import group_by_size
from ..images import Source
from ..manifest import Manifest
from .requests import Request, RequestQueue

logger = logging.getLogger(__name__)


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

    def predict(
        self,
        images: list[NDArray[np.uint8]],
        *,
        score_threshold: float | None = None,
        batch_size: int = 8,
    ) -> list[Detections]:
        """See `Segmenter.predict`."""


def work(queue: RequestQueue, segmenter: Predictor, most: int, patience: float) -> None:
    """What the thread does until the queue is closed and empty."""
    while requests := queue.take(most, patience):
        _answer(requests, queue, segmenter)
        del requests  # an idle thread would keep its last images


def _answer(requests: list[Request], queue: RequestQueue, segmenter: Predictor) -> None:
    """Run a batch, the images of one size together, and give every caller its own."""
    queue.count(batches=1, images=len(requests))
    for group in group_by_size([request.image.shape for request in requests], len(requests)):
        members = [requests[index] for index in group]
        try:
            results = _run(members, segmenter)
        except BaseException as error:  # whatever it is: if the thread dies, all wait for ever
            _fail_or_retry(members, error, queue, segmenter)
            continue
        _deliver(members, results, queue)


def _run(members: list[Request], segmenter: Predictor) -> list[Detections]:
    """Detections of images of one size, each above its own caller's threshold."""
    images = [request.image for request in members]
    if len(members) == 1:
        return segmenter.predict(images, score_threshold=members[0].score_threshold)
    results = segmenter.predict(images, batch_size=len(images))
    return [
        found if request.score_threshold is None else found.above(request.score_threshold)
        for request, found in zip(members, results, strict=True)
    ]


def _fail_or_retry(
    members: list[Request], error: BaseException, queue: RequestQueue, segmenter: Predictor
) -> None:
    """Hand one caller the error; of several, run each alone to find out whose it is."""
    if len(members) == 1:
        queue.count(failed=1)
        members[0].future.set_exception(error)
        return
    logger.warning("a batch of %d images failed, trying each alone: %s", len(members), error)
    for request in members:
        try:
            results = _run([request], segmenter)
        except BaseException as own:  # as above
            _fail_or_retry([request], own, queue, segmenter)
        else:
            _deliver([request], results, queue)


def _deliver(members: list[Request], results: list[Detections], queue: RequestQueue) -> None:
    queue.count(answered=len(members))
    for request, found in zip(members, results, strict=True):
        request.future.set_result(found)
