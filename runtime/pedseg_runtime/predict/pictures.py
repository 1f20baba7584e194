"""Segmenting image files, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import InputError
from .journal import Entry, Fingerprint
from .outcome import FailedFile, PredictedFile
from .work import Job, Work
from .writers import write_mask, write_overlay


def predict_pictures(work: Work, jobs: Sequence[Job]) -> Iterator[PredictedFile | FailedFile]:
    """Segment images, write what is wanted of each, and tell what became of each.

    The journal gets {"width", "height", "detections"}, the latter as `Detections.to_coco` has them
    but without image_id.

    Raises:
        OSError: a result cannot be written.
    """
    for start in range(0, len(jobs), work.batch_size):
        read: list[tuple[Job, Fingerprint]] = []
        images: list[NDArray[np.uint8]] = []
        for job in jobs[start : start + work.batch_size]:
            try:
                fingerprint = Fingerprint.of(job.file)  # before its content, lest that changes
                images.append(work.segmenter.read(job.file, str(job.file)))
            except InputError as error:
                yield FailedFile(job.file, str(error))
            else:
                read.append((job, fingerprint))
        for (job, fingerprint), image, found in zip(
            read, images, work.segment(images), strict=True
        ):
            _write(work, job, image, found)
            work.journal.add(Entry(fingerprint, job.outputs, _result(found)))
            yield PredictedFile(job.file, job.paths(work.output), len(found))


def _write(work: Work, job: Job, image: NDArray[np.uint8], detections: Detections) -> None:
    paths = job.paths(work.output)
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
