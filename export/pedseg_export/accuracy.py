"""The AP gate of an export: labelled images and the largest acceptable loss of AP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pedseg_runtime.errors import ExportError
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import read_header
from pedseg_train.data import SegmentationDataset, open_dataset
from pedseg_train.eager import EagerSegmenter
from pedseg_train.evaluation.subject import select_images

from .gate import AccuracyVerdict, Outcome, judge, measure


@dataclass(frozen=True)
class AccuracyGate:
    """Labelled images that training has not seen, and the largest acceptable loss of AP.

    Attributes:
        dataset: of any layout, with the labels of the checkpoint.
        indices: the images to measure on.
        max_drop: the largest acceptable loss, in points (hundredths of AP).
    """

    dataset: SegmentationDataset
    indices: Sequence[int]
    max_drop: float

    @classmethod
    def open(
        cls, data: Path, *, checkpoint: Path, max_drop: float, images: Path | None = None
    ) -> AccuracyGate:
        """The gate on the test images of `checkpoint`'s run, see `select_images`.

        Args:
            data: a dataset.
            checkpoint: gives the classes, and its run the test images.
            max_drop: the largest acceptable loss, in points.
            images: folder of a COCO file's images, if it is elsewhere.

        Raises:
            DatasetError: the dataset cannot be used, or has none of the checkpoint's classes.
        """
        names = read_header(checkpoint).class_names
        dataset = open_dataset(data, class_names=names, images=images)
        indices, _ = select_images(checkpoint, dataset)
        return cls(dataset, indices, max_drop)

    def check(
        self,
        segmenter: Segmenter,
        reference: EagerSegmenter,
        notify: Callable[[str], object],
    ) -> AccuracyVerdict:
        """Measure the loss of AP.

        Raises:
            DatasetError: the images have no label.
            ExportError: the loss exceeds `max_drop`.
        """
        notify(f"measuring AP on {len(self.indices)} images")
        difference = measure(segmenter, reference, self.dataset, self.indices)
        verdict = judge(difference, max_drop=self.max_drop)
        if verdict.outcome is Outcome.FAILS:
            raise ExportError(
                f"AP: expected the artifact to lose at most {self.max_drop:g} points, found: "
                f"{verdict.reason}; keep a higher precision, calibrate on more images, or "
                "raise --max-ap-drop"
            )
        if verdict.outcome is Outcome.NOT_PROVEN:
            notify(f"AP is not proven: {verdict.reason}")
        return verdict
