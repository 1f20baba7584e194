"""One row per image: people found and missed, false positives, mask quality."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing, write_json

from .outcomes import ImageOutcome

SUFFIXES = (".csv", ".json")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """How a model did on one image, by its masks.

    At the score threshold and an overlap of 0.5, `people` is `matched + missed` and `found` is
    `matched + false_alarms`.

    Attributes:
        image: the image's name.
        people: number of people, crowd regions not counted.
        found: detections of at least the score threshold, those on crowd regions not counted.
        matched: people found.
        missed: people not found.
        false_alarms: false positives.
        mean_iou: mean overlap of the matched masks, in 0..1; None if there is none.
        f1: harmonic mean of precision and recall; None without people and without detections.
        mask_ap: COCO's AP of this image alone, from detections of any score; None without people.
    """

    image: str
    people: int
    found: int
    matched: int
    missed: int
    false_alarms: int
    mean_iou: float | None
    f1: float | None
    mask_ap: float | None

    @classmethod
    def of(cls, name: str, outcome: ImageOutcome, mask_ap: float | None) -> ImageRow:
        """The row of one image's outcome."""
        matched, found = len(outcome.matched), len(outcome.shown)
        return cls(
            image=name,
            people=outcome.people,
            found=found,
            matched=matched,
            missed=len(outcome.missed),
            false_alarms=len(outcome.false_positives),
            mean_iou=_mean([one.overlap for one in outcome.matched]),
            f1=2 * matched / (found + outcome.people) if found + outcome.people else None,
            mask_ap=mask_ap,
        )

    @property
    def errors(self) -> int:
        """False negatives and false positives together."""
        return self.missed + self.false_alarms


def check_suffix(path: Path) -> None:
    """Raise InputError unless `write_image_rows` knows what to write to a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected a name that ends in .csv or .json; choose one of them")


def write_image_rows(path: Path, rows: Sequence[ImageRow]) -> None:
    """Write the table as CSV with a header, or as JSON, by the suffix of `path`.

    Raises:
        InputError: another suffix.
    """
    check_suffix(path)
    values = [dataclasses.asdict(row) for row in rows]
    if path.suffix.lower() == ".json":
        write_json(path, values)
        return
    names = [field.name for field in dataclasses.fields(ImageRow)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_rounded, values))


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
