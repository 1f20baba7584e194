"""What the parts of a prediction share: the segmenter and where results go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
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
class Work:
    """How files are segmented and where their results go.

    Attributes:
        segmenter: a loaded artifact.
        output: the folder for the results.
        journal: where finished files are noted.
        score_threshold: keep detections above it; None keeps what the artifact yields.
        batch_size: most images segmented at once.
        every: of a video, segment the frames 0, every, 2 * every, ...
    """

    segmenter: Segmenter
    output: Path
    journal: Journal
    score_threshold: float | None
    batch_size: int
    every: int

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """The detections of images, uint8 [H, W, 3] RGB each."""
        return self.segmenter.predict(
            images, score_threshold=self.score_threshold, batch_size=self.batch_size
        )
