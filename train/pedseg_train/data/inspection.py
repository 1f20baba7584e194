"""What a look at one labelled image finds, for `pedseg-data check` and before a training."""

from __future__ import annotations

from dataclasses import dataclass, field

from .check_report import CheckReport, Problem
from .protocol import Dropped, Extents


@dataclass(frozen=True, slots=True)
class Inspection:
    """One image and its annotations.

    Attributes:
        problems: what is wrong with them.
        size: (height, width) of the image; None if something could not be read.
        found: the instances, crowd regions among them; None if something could not be read.
        dropped: the annotations that are not used, and why.
    """

    problems: tuple[Problem, ...]
    size: tuple[int, int] | None = None
    found: Extents | None = None
    dropped: tuple[Dropped, ...] = ()


@dataclass(slots=True)
class Tally:
    """Adds inspections up in a report.

    Attributes:
        report: the counts and problems so far.
        several, single: what instances are called.
    """

    report: CheckReport
    several: str = "instances"
    single: str = "instance"
    labels: dict[int, int] = field(default_factory=dict)
    _measured: dict[str, list[float]] = field(default_factory=dict)

    def add(self, inspection: Inspection) -> None:
        """Take one image in."""
        self.report.problems.extend(inspection.problems)
        if inspection.found is None or inspection.size is None:
            return
        found, report = inspection.found, self.report
        report.pairs += 1
        report.crowds += int(found.crowd.sum())
        learnt = found.learnable
        report.instances += int(learnt.sum())
        report.empty += not learnt.any()
        for label in found.labels[learnt].tolist():
            self.labels[label] = self.labels.get(label, 0) + 1
        sides = found.boxes[learnt, 2:] - found.boxes[learnt, :2] + 1
        for key, values in {
            "image width": [inspection.size[1]],
            "image height": [inspection.size[0]],
            f"{self.several} in an image": [int(learnt.sum())],
            f"{self.single} width": sides[:, 0].tolist(),
            f"{self.single} height": sides[:, 1].tolist(),
            f"{self.single} area": found.pixels[learnt].tolist(),
        }.items():
            self._measured.setdefault(key, []).extend(values)

    def finish(self) -> None:
        """Summarise what was measured."""
        self.report.finish(self._measured)
