"""What a dataset holds, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pedseg_runtime.errors import DatasetError

from .digests import are_official, digest_of_files, file_digests
from .layout import (
    IMAGES,
    MASKS,
    Progress,
    check_root,
    image_names,
    image_path,
    instance_ids,
    mask_names,
    mask_path,
    png_files,
    read_pair,
    split_instances,
    tight_boxes,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        severity: "error", the dataset cannot be used as it is, or "warning".
        file: the file it is about, relative to the dataset.
        message: what was expected and what was found.
    """

    severity: str
    file: str
    message: str


@dataclass(frozen=True, slots=True)
class Spread:
    """The smallest, the middle and the greatest of some numbers."""

    smallest: float
    median: float
    greatest: float

    def __str__(self) -> str:
        return f"{self.smallest:.9g} / {self.median:.9g} / {self.greatest:.9g}"


@dataclass(slots=True)
class CheckReport:
    """The result of `check_dataset`.

    Attributes:
        root: the dataset.
        pairs: pictures that have a mask, both readable and of one size.
        instances: people in those masks.
        empty: pictures without people.
        spreads: smallest, median and greatest of what was measured, by name; pixels.
        digests: of the folders, see `digests`.
        official: whether these are the pictures and masks of the official archive.
        problems: errors first.
    """

    root: Path
    pairs: int = 0
    instances: int = 0
    empty: int = 0
    spreads: dict[str, Spread] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    official: bool = False
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that make the dataset unusable."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that can be lived with."""
        return [problem for problem in self.problems if problem.severity == "warning"]

    def summary(self) -> str:
        """One line: whether the dataset can be used, and how much was found."""
        verdict = "cannot be used as it is" if self.errors else "can be used"
        return f"{self.root} {verdict}: {len(self.errors)} errors, {len(self.warnings)} warnings"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "root": str(self.root),
            "passed": not self.errors,
            "pairs": self.pairs,
            "instances": self.instances,
            "empty": self.empty,
            "spreads": {
                name: {"min": each.smallest, "median": each.median, "max": each.greatest}
                for name, each in self.spreads.items()
            },
            "digests": self.digests,
            "official": self.official,
            "problems": [
                {"severity": each.severity, "file": each.file, "message": each.message}
                for each in self.problems
            ],
        }

    def table(self) -> Table:
        """The numbers as a table of two columns."""
        table = Table(title=str(self.root), title_justify="left", show_header=False)
        table.add_column(style="bold")
        table.add_column()
        table.add_row("pictures with masks", str(self.pairs))
        table.add_row("people", str(self.instances))
        table.add_row("empty streets", str(self.empty))
        for name, spread in self.spreads.items():
            table.add_row(f"{name} (min / median / max)", str(spread))
        for folder, digest in self.digests.items():
            table.add_row(f"{folder} sha256", f"{digest[:16]}…")
        table.add_row("official Penn-Fudan", "yes" if self.official else "no")
        return table


def check_dataset(root: str | Path, *, progress: Progress | None = None) -> CheckReport:
    """Read every file of a dataset and report what is there and what is wrong.

    Args:
        root: the folder that holds PNGImages and PedMasks.
        progress: called with the number of pictures read and their total after each of them.

    Raises:
        DatasetError: `root` is no dataset folder at all. Everything else is reported.
    """
    root = Path(root)
    check_root(root)
    report = CheckReport(root)
    files = {folder: file_digests(root / folder) for folder in (IMAGES, MASKS)}
    report.digests = {folder: digest_of_files(digests) for folder, digests in files.items()}
    report.official = are_official(files)
    images, masks = image_names(root), mask_names(root)
    _check_partners(report, set(images), set(masks))
    _check_strangers(report)
    _check_doubles(report, files[IMAGES])
    measured: dict[str, list[float]] = {}
    known = set(masks)
    for done, name in enumerate(images, 1):
        if name in known:
            _check_pair(report, name, measured)
        if progress is not None:
            progress(done, len(images))
    report.spreads = {
        name: Spread(float(min(values)), float(np.median(values)), float(max(values)))
        for name, values in measured.items()
    }
    if not report.pairs:
        _add(report, "error", root, "expected pictures with masks, found none that can be used")
    report.problems.sort(key=lambda problem: (problem.severity, problem.file))
    return report


def _check_partners(report: CheckReport, images: set[str], masks: set[str]) -> None:
    for name in images - masks:
        partner = mask_path(report.root, name).name
        message = f"expected the mask {partner} in {MASKS}, found nothing"
        _add(report, "error", image_path(report.root, name), message)
    for name in masks - images:
        partner = image_path(report.root, name).name
        message = f"expected the picture {partner} in {IMAGES}, found nothing; not used"
        _add(report, "warning", mask_path(report.root, name), message)


def _check_strangers(report: CheckReport) -> None:
    """Files that no reader of the dataset looks at."""
    for folder in (IMAGES, MASKS):
        known = set(png_files(report.root / folder))
        for path in (report.root / folder).iterdir():
            if path not in known and not path.name.startswith("."):
                _add(report, "warning", path, "expected PNG files only, found another; not used")


def _check_doubles(report: CheckReport, digests: dict[str, str]) -> None:
    """The same picture twice may end up on both sides of a split."""
    first: dict[str, str] = {}
    for name, digest in sorted(digests.items()):
        if first.setdefault(digest, name) != name:
            message = f"expected different pictures, found the same as {first[digest]}"
            _add(report, "warning", report.root / IMAGES / name, message)


def _check_pair(report: CheckReport, name: str, measured: dict[str, list[float]]) -> None:
    """Read one picture with its mask and add to what was `measured`."""
    path = mask_path(report.root, name)
    try:
        picture, ids = read_pair(report.root, name)
    except DatasetError as error:
        message = str(error)
        culprit = path if message.startswith(f"{path}: ") else image_path(report.root, name)
        _add(report, "error", culprit, message.removeprefix(f"{culprit}: "))
        return
    report.pairs += 1
    found = instance_ids(ids).tolist()
    masks = split_instances(ids)
    boxes = tight_boxes(masks)
    report.instances += len(found)
    report.empty += not found
    if found != list(range(1, len(found) + 1)):
        _add(report, "warning", path, f"expected the ids 1 to {len(found)}, found {_listed(found)}")
    for instance, (x1, y1, x2, y2) in zip(found, boxes.tolist(), strict=True):
        if x1 == x2 or y1 == y2:
            message = (
                f"expected people of at least 2x2 pixels, found instance {instance} with "
                f"{x2 - x1 + 1}x{y2 - y1 + 1}; not trained on"
            )
            _add(report, "warning", path, message)
    values = {
        "picture width": [picture.shape[1]],
        "picture height": [picture.shape[0]],
        "people in a picture": [len(found)],
        "person width": (boxes[:, 2] - boxes[:, 0] + 1).tolist(),
        "person height": (boxes[:, 3] - boxes[:, 1] + 1).tolist(),
        "person area": masks.sum(axis=(1, 2)).tolist(),
    }
    for key, numbers in values.items():
        if numbers:
            measured.setdefault(key, []).extend(numbers)


def _listed(ids: list[int]) -> str:
    shown = ", ".join(str(value) for value in ids[:8])
    return f"{shown}, ..." if len(ids) > 8 else shown


def _add(report: CheckReport, severity: str, path: Path, message: str) -> None:
    file = path.relative_to(report.root).as_posix()
    report.problems.append(Problem(severity, file, message))
