"""Segmenting image files, a batch at a time; an image that fails costs only itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from .jobs import FailedFile, Job, PredictedFile, PredictionContext
from .journal import Entry, Fingerprint
from .outputs import write_blurred, write_mask, write_overlay


def segment_images(
    context: PredictionContext, jobs: Sequence[Job]
) -> Iterator[PredictedFile | FailedFile]:
    """Segment images, write the outputs of each, and yield the outcome of each.

    The journal gets {"width", "height", "detections"}, the latter as `Detections.to_coco` has them
    but without image_id.

    Raises:
        OSError: a result cannot be written.
    """
    waiting: list[_Image] = []
    for job in jobs:
        try:
            fingerprint = Fingerprint.of(job.file)  # before its content, lest that changes
            waiting.append(_Image(job, fingerprint, context.segmenter.read(job.file)))
        except Exception as error:  # any: it is this file's
            yield FailedFile.because(job.file, error)
        pixels = sum(image.pixels.size // 3 for image in waiting)
        if len(waiting) >= context.batch_size or pixels >= context.max_pixels:
            yield from _segment(context, waiting)
            waiting = []
    yield from _segment(context, waiting)


class _Image(NamedTuple):
    job: Job
    fingerprint: Fingerprint
    pixels: NDArray[np.uint8]


def _segment(
    context: PredictionContext, images: Sequence[_Image]
) -> Iterator[PredictedFile | FailedFile]:
    """Segment a batch and write the outputs of each image that can be."""
    outcomes = context.segment([image.pixels for image in images])
    for (job, fingerprint, pixels), outcome in zip(images, outcomes, strict=True):
        if isinstance(outcome, Exception):
            yield FailedFile.because(job.file, outcome)
            continue
        try:
            _write(context, job, pixels, outcome)
            entry = Entry(fingerprint, job.outputs, _result(outcome))
        except OSError:  # a full disk would fail all images that follow
            raise
        except Exception as error:  # any: it is this image's
            yield FailedFile.because(job.file, error)
            continue
        context.journal.add(entry)
        yield PredictedFile(job.file, job.paths(context.output), len(outcome))


def _write(
    context: PredictionContext, job: Job, image: NDArray[np.uint8], detections: Detections
) -> None:
    paths = job.paths(context.output)
    if "overlay" in paths:
        write_overlay(paths["overlay"], image, detections)
    if "blurred" in paths:
        write_blurred(paths["blurred"], image, detections)
    if "mask" in paths:
        write_mask(paths["mask"], detections)


def _result(detections: Detections) -> dict[str, Any]:
    height, width = detections.image_size
    found = detections.to_coco(0)
    for entry in found:
        del entry["image_id"]  # the file's name, which may be spelt otherwise next time
    return {"width": width, "height": height, "detections": found}
