"""What a prediction works through: jobs, what they share, and the outcome of each file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..batches import run_isolated
from ..detections import Detections
from ..errors import PedsegError, summarize
from ..segmenter import Segmenter
from .journal import Journal


class Job(NamedTuple):
    """A file to segment.

    Attributes:
        file: an image or a video.
        outputs: what to write for it, by kind, relative to the output folder.
    """

    file: Path
    outputs: dict[str, str]

    def paths(self, folder: Path) -> dict[str, Path]:
        """The outputs in `folder`."""
        return {kind: folder / name for kind, name in self.outputs.items()}


@dataclass(frozen=True, slots=True)
class PredictionContext:
    """How files are segmented and where their results go.

    Attributes:
        segmenter: a loaded artifact.
        output: the folder for the results.
        journal: where finished files are noted.
        score_threshold: keep detections above it; None keeps what the artifact yields.
        batch_size: most images held and segmented at once.
        every: of a video, segment the frames 0, every, 2 * every, ...
    """

    segmenter: Segmenter
    output: Path
    journal: Journal
    score_threshold: float | None
    batch_size: int
    every: int

    @property
    def max_pixels(self) -> float:
        """Pixels of all images that are held at once, unless it is a single one."""
        most = self.segmenter.max_batch_pixels
        return math.inf if most is None else most

    def is_due(self, index: int) -> bool:
        """Whether the frame of that number is one to segment."""
        return index % self.every == 0

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections | Exception]:
        """Per image, uint8 [H, W, 3] RGB, its detections, or the error that it alone fails with."""

        def predict(members: Sequence[NDArray[np.uint8]]) -> list[Detections | Exception]:
            return self.segmenter.predict(
                members,
                score_threshold=self.score_threshold,
                batch_size=self.batch_size,
                on_error="return",
            )

        return [*run_isolated(images, predict, catch=Exception)] if images else []


@dataclass(frozen=True, slots=True)
class PredictedFile:
    """An image or a video that was segmented.

    Attributes:
        file: the input.
        outputs: what was written for it, by kind: "overlay", "blurred", "mask", "lines".
        detections: how many were found; of a video, on all frames that were segmented.
        frames: how many frames of a video were decoded; None for an image.
        damage: what was wrong with a video that could be decoded in part; None if nothing was.
        resumed: whether an earlier run did it.
    """

    file: Path
    outputs: Mapping[str, Path]
    detections: int
    frames: int | None = None
    damage: str | None = None
    resumed: bool = False

    @property
    def is_video(self) -> bool:
        """Whether it is a video."""
        return self.frames is not None


@dataclass(frozen=True, slots=True)
class FailedFile:
    """An input that could not be used, or of a damaged video not all of it, and why."""

    file: Path
    reason: str

    @classmethod
    def because(cls, file: Path, error: Exception) -> FailedFile:
        """A file that failed with `error`."""
        return cls(file, prefixed(file, reason_of(error)))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What `predict_files` did.

    Attributes:
        predicted: the files that were segmented, in the order they were given. A video that was
            damaged on the way is here with what could be decoded, and among the failed.
        failed: the files that were not segmented, or not wholly.
        results: the files that hold the detections of all images, by format: "json", "coco", and
            "coco_images" with the images and categories that "coco" refers to.
        notes: a line for each file of which less than all was segmented, e.g. the first page.
    """

    predicted: Sequence[PredictedFile]
    failed: Sequence[FailedFile]
    results: Mapping[str, Path]
    notes: Sequence[str] = ()

    @property
    def images(self) -> list[PredictedFile]:
        """The images that were segmented."""
        return [item for item in self.predicted if not item.is_video]

    @property
    def videos(self) -> list[PredictedFile]:
        """The videos that were segmented."""
        return [item for item in self.predicted if item.is_video]

    def to_dict(self) -> dict[str, Any]:
        """Counts, files and failures, ready for JSON; `detections` are those of the images."""
        images = self.images
        facts: dict[str, Any] = {
            "images": len(images),
            "detections": sum(item.detections for item in images),
            "resumed": sum(item.resumed for item in self.predicted),
        }
        names = {"json": "detections_file", "coco": "coco_file", "coco_images": "coco_images_file"}
        facts |= {names[key]: str(path) for key, path in self.results.items()}
        facts["overlays"] = _outputs(images, "overlay")
        facts["blurred"] = _outputs(images, "blurred")
        facts["masks"] = _outputs(images, "mask")
        facts["videos"] = [
            {
                "file": str(item.file),
                "frames": item.frames,
                "detections": item.detections,
                **{kind: str(path) for kind, path in item.outputs.items()},
            }
            for item in self.videos
        ]
        facts["notes"] = list(self.notes)
        facts["failed"] = [{"file": str(item.file), "reason": item.reason} for item in self.failed]
        return facts


def reason_of(error: Exception) -> str:
    """The message of an error made on purpose, or type and first line of any other."""
    summary = summarize(error)
    return summary if isinstance(error, PedsegError) else f"expected to segment it, found {summary}"


def prefixed(file: Path, reason: str) -> str:
    """The reason with the file in front, where it does not start with it."""
    return reason if reason.startswith(f"{file}: ") else f"{file}: {reason}"


def _outputs(items: Sequence[PredictedFile], kind: str) -> list[str]:
    return [str(item.outputs[kind]) for item in items if kind in item.outputs]
