"""The result of checking a dataset: counts, digests and problems."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from .similarity import Leak

# What differs between problems of one kind: names, numbers and paths.
_VARYING = re.compile(r"'[^']*'|\([^)]*\)|\S*[\d/]\S*")


def without_particulars(message: str) -> str:
    """What messages of one kind have in common: no names, numbers and paths."""
    return " ".join(_VARYING.sub("", message).split())


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a dataset.

    Attributes:
        severity: "error" if the dataset is unusable as it is, else "warning".
        file: relative to the dataset.
        message: the expectation and the finding.
    """

    severity: str
    file: str
    message: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Minimum, median and maximum of some numbers."""

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
        layout: "Penn-Fudan" or "COCO JSON".
        pairs: images with a readable annotation of their size.
        instances: usable instances on those images.
        empty: images without instances.
        crowds: crowd regions, which are not trained on; COCO only.
        classes: instances by class name.
        spreads: minimum, median and maximum of sizes (pixels) and counts, by name.
        digests: of the folders, see `digests`.
        official: whether the content is that of the official archive.
        leaks: near-identical images in different parts of a split; None without a split.
        problems: errors first.
    """

    root: Path
    layout: str = "Penn-Fudan"
    pairs: int = 0
    instances: int = 0
    empty: int = 0
    crowds: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    official: bool = False
    leaks: list[Leak] | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that make the dataset unusable."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that leave the dataset usable."""
        return [problem for problem in self.problems if problem.severity == "warning"]

    def add(self, severity: str, file: str, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(severity, file, message))

    def finish(self, measured: Mapping[str, Sequence[float]]) -> None:
        """Summarise the measurements, and put errors first."""
        self.spreads = {
            name: Spread(float(min(values)), float(np.median(values)), float(max(values)))
            for name, values in measured.items()
            if values
        }
        self._sort()

    def grouped(self) -> list[tuple[Problem, int]]:
        """The first problem of each kind, and how many more there are of it."""
        kinds: dict[tuple[str, str], list[Problem]] = {}
        for problem in self.problems:
            kind = without_particulars(problem.message)
            kinds.setdefault((problem.severity, kind), []).append(problem)
        return [(problems[0], len(problems) - 1) for problems in kinds.values()]

    def add_leaks(self, leaks: Sequence[Leak]) -> None:
        """Add the leaks of a split: an error for the same file, else a warning."""
        self.leaks = list(leaks)
        for leak in leaks:
            message = f"{leak}; `pedseg-data split` keeps such images together"
            self.add("error" if leak.identical else "warning", "split", message)
        self._sort()

    def _sort(self) -> None:
        self.problems.sort(key=lambda problem: (problem.severity, problem.file))

    def summary(self) -> str:
        """One line: whether the dataset is usable, and the number of problems."""
        verdict = "cannot be used as it is" if self.errors else "can be used"
        return f"{self.root} {verdict}: {len(self.errors)} errors, {len(self.warnings)} warnings"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "root": str(self.root),
            "layout": self.layout,
            "passed": not self.errors,
            "pairs": self.pairs,
            "instances": self.instances,
            "empty": self.empty,
            "crowds": self.crowds,
            "classes": self.classes,
            "spreads": {
                name: {"min": each.smallest, "median": each.median, "max": each.greatest}
                for name, each in self.spreads.items()
            },
            "digests": self.digests,
            "official": self.official,
            "leaks": None if self.leaks is None else [leak.to_dict() for leak in self.leaks],
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
        table.add_row("layout", self.layout)
        table.add_row("usable images", str(self.pairs))
        table.add_row("instances", str(self.instances))
        for name, count in self.classes.items():
            table.add_row(f"  {name}", str(count))
        if self.crowds:
            table.add_row("crowd regions", str(self.crowds))
        table.add_row("images without instances", str(self.empty))
        for name, spread in self.spreads.items():
            table.add_row(f"{name} (min / median / max)", str(spread))
        if self.leaks is not None:
            table.add_row("near-identical across the split", str(len(self.leaks)))
        for part, digest in self.digests.items():
            table.add_row(f"{part} sha256", f"{digest[:16]}…")
        if self.layout == "Penn-Fudan":
            table.add_row("official Penn-Fudan", "yes" if self.official else "no")
        return table
