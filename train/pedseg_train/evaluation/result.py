"""COCO's twelve numbers, over all classes and per class."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval
from rich.table import Table

from .recording import Annotated, Recording, Segment, record

NUMBERS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip

Numbers = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class CocoResult:
    """COCO's twelve numbers for boxes and for masks, in 0..1.

    A number is None where it is undefined, e.g. APs without a small person in the ground truth.

    Attributes:
        bbox, segm: name of `NUMBERS` -> value.
        images: number of images evaluated.
        instances: people in their ground truth, crowd regions not counted.
        detections: detections on them, of any score.
        classes: class name -> {"bbox": numbers, "segm": numbers, "instances": how many}; empty
            for a single class, which has the numbers above.
    """

    bbox: Numbers
    segm: Numbers
    images: int
    instances: int
    detections: int
    classes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types; no NaN, no -1."""
        return dataclasses.asdict(self)

    def table(self) -> Table:
        """The numbers side by side, for a terminal."""
        table = Table(
            title=f"{self.detections} detections on {self.images} images with "
            f"{self.instances} people"
        )
        table.add_column("COCO")
        table.add_column("bbox", justify="right")
        table.add_column("segm", justify="right")
        for name in NUMBERS:
            table.add_row(name, format_metric(self.bbox[name]), format_metric(self.segm[name]))
        return table

    def summary(self) -> str:
        """The two numbers that matter most, in one line."""
        return f"box AP {format_metric(self.bbox['AP'])}, mask AP {format_metric(self.segm['AP'])}"


def evaluate(
    segment: Segment,
    dataset: Annotated,
    indices: Sequence[int],
    *,
    truth: Recording | None = None,
    description: str = "evaluating",
) -> CocoResult:
    """Run `segment` on some images of `dataset` and compare with their targets.

    Arguments as for `record`.
    """
    return count(record(segment, dataset, indices, truth=truth, description=description))


def count(recording: Recording) -> CocoResult:
    """COCO's twelve numbers, for boxes and for masks."""
    return count_matches(recording, {kind: recording.match(kind) for kind in ("bbox", "segm")})


def count_matches(recording: Recording, matched: dict[str, COCOeval]) -> CocoResult:
    """COCO's twelve numbers from what `Recording.match` gave for each kind."""
    labels = recording.categories
    numbers = {kind: _numbers(evaluation, len(labels)) for kind, evaluation in matched.items()}
    everything = {kind: found[0] for kind, found in numbers.items()}
    classes: dict[str, dict[str, Any]] = {}
    if len(labels) > 1:
        for place, label in enumerate(labels):
            instances = sum(
                person["category_id"] == label and not person["iscrowd"]
                for person in recording.truth
            )
            of_class = {kind: found[1][place] for kind, found in numbers.items()}
            classes[recording.category_name(label)] = {**of_class, "instances": instances}
    return CocoResult(
        bbox=everything["bbox"],
        segm=everything["segm"],
        images=len(recording.images),
        instances=recording.people,
        detections=len(recording.found),
        classes=classes,
    )


def format_metric(value: float | None) -> str:
    """One of COCO's numbers as text; "-" for None."""
    return "-" if value is None else f"{value:.3f}"


def _numbers(evaluation: COCOeval, classes: int) -> tuple[Numbers, list[Numbers]]:
    """The numbers of all classes together, and of each."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    each = [_twelve(precision[:, :, [k]], recall[:, [k]]) for k in range(classes)]
    return (each[0] if classes == 1 else _twelve(precision, recall)), each


def _twelve(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> Numbers:
    """COCOeval's `summarize` as values, for some of its classes.

    Args:
        precision: [T, R, K, A, M] by overlap, recall, class, area (all, small, medium, large) and
            number of detections (1, 10, 100); -1 without people.
        recall: [T, K, A, M], likewise.
    """
    at50, at75 = 0, 5  # the overlaps are 0.50, 0.55 ... 0.95
    parts = (
        precision[..., 0, 2],
        precision[at50, ..., 0, 2],
        precision[at75, ..., 0, 2],
        *(precision[..., area, 2] for area in (1, 2, 3)),
        *(recall[..., 0, most] for most in (0, 1, 2)),
        *(recall[..., area, 2] for area in (1, 2, 3)),
    )
    return dict(zip(NUMBERS, map(_mean, parts), strict=True))


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[values > -1]
    return float(np.mean(known)) if known.size else None
