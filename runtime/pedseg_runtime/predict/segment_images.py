"""Segmenting image files, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import InputError
from .jobs import FailedFile, Job, PredictedFile, PredictionContext
from .journal import Entry, Fingerprint
from .outputs import write_mask, write_overlay


def segment_images(
    context: PredictionContext, jobs: Sequence[Job]
) -> Iterator[PredictedFile | FailedFile]:
    """Segment images, write the outputs of each, and yield the outcome of each.

    The journal gets {"width", "height", "detections"}, the latter as `Detections.to_coco` has them
    but without image_id.

    Raises:
        OSError: a result cannot be written.
    """
    for start in range(0, len(jobs), context.batch_size):
        read: list[tuple[Job, Fingerprint]] = []
        images: list[NDArray[np.uint8]] = []
        for job in jobs[start : start + context.batch_size]:
            try:
                fingerprint = Fingerprint.of(job.file)  # before its content, lest that changes
                images.append(context.segmenter.read(job.file, str(job.file)))
            except InputError as error:
                yield FailedFile(job.file, str(error))
            else:
                read.append((job, fingerprint))
        for (job, fingerprint), image, found in zip(
            read, images, context.segment(images), strict=True
        ):
            _write(context, job, image, found)
            context.journal.add(Entry(fingerprint, job.outputs, _result(found)))
            yield PredictedFile(job.file, job.paths(context.output), len(found))


def _write(
    context: PredictionContext, job: Job, image: NDArray[np.uint8], detections: Detections
) -> None:
    paths = job.paths(context.output)
    if "overlay" in paths:
        write_overlay(paths["overlay"], image, detections)
    if "mask" in paths:
        write_mask(paths["mask"], detections)


def _result(detections: Detections) -> dict[str, Any]:
    height, width = detections.image_size
    found = detections.to_coco(0)
    for entry in found:
        del entry["image_id"]  # the file's name, which may be spelt otherwise next time
    return {"width": width, "height": height, "detections": found}
