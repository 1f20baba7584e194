"""The result of an examination: a verdict per stage, with its differences."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pedseg_runtime.text import pluralize

if TYPE_CHECKING:
    from rich.table import Table

PASSED, FAILED, NOT_JUDGED = "passed", "failed", "not judged"
COLOURS = {PASSED: "green", FAILED: "red", NOT_JUDGED: "yellow"}


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference of one quantity over all images.

    Attributes:
        quantity: what differs, e.g. `boxes`.
        unit: of `largest` and `limit`.
        largest: the largest absolute difference; None if it is not finite.
        limit: the largest difference that counts as agreement.
        within: whether `largest` is at most `limit`.
        worst: name of the image with the largest difference.
    """

    quantity: str
    unit: str
    largest: float | None
    limit: float
    within: bool
    worst: str

    def __str__(self) -> str:
        limit = f"limit {self.limit:g} {self.unit}"
        return f"{self.quantity} {self.format_largest()} ({limit}, worst {self.worst})"

    def format_largest(self) -> str:
        """The largest difference, with few digits."""
        if self.largest is None:
            return "not finite"
        return f"{self.largest:.0f}" if self.largest >= 100 else f"{self.largest:.3g}"


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage's verdict.

    Attributes:
        name: e.g. `proposals`.
        meaning: the likely error if this stage is the first to fail.
        verdict: `passed`, `failed` or `not judged`.
        images: number of images with values to compare.
        differences: per quantity.
        notes: explained flips, sizes, reasons for not judging.
    """

    name: str
    meaning: str
    verdict: str
    images: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageReport:
    """The verdicts of all stages; true if every one was judged and passed.

    Attributes:
        precision: of the artifact; it selects the limits.
        images: number of images on which the stages ran.
        stages: in the order of the network.
    """

    precision: str
    images: int
    stages: tuple[StageResult, ...]

    def __bool__(self) -> bool:
        return all(stage.verdict == PASSED for stage in self.stages)

    @property
    def first_failure(self) -> StageResult | None:
        """The first stage beyond a limit, None if there is none."""
        return next((stage for stage in self.stages if stage.verdict == FAILED), None)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON; all numbers are finite."""
        first = self.first_failure
        return {
            "passed": bool(self),
            "first_failure": first.name if first else None,
            **dataclasses.asdict(self),
        }

    def summary(self) -> str:
        """The verdict as one line."""
        first = self.first_failure
        if first is not None:
            beyond = [str(difference) for difference in first.differences if not difference.within]
            seen = "; ".join([*beyond, *first.notes[:1]])
            return f"first stage that disagrees with eager: {first.name}: {seen}; {first.meaning}"
        unjudged = [stage for stage in self.stages if stage.verdict == NOT_JUDGED]
        if unjudged:
            reason = unjudged[0].notes[0]
            return f"stages: {unjudged[0].name} could not be judged: {reason}"
        images = pluralize(self.images, "image")
        return f"stages: all {len(self.stages)} agree with eager on {images}"

    def table(self) -> Table:
        """Differences and verdicts as a rich table."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title="Stages", title_justify="left")
        table.add_column("stage")
        table.add_column("quantity")
        table.add_column("largest", justify="right")
        table.add_column("limit", justify="right")
        table.add_column("unit")
        table.add_column("worst image")
        table.add_column("verdict")
        for stage in self.stages:
            verdict = f"[{COLOURS[stage.verdict]}]{stage.verdict}[/]"
            if not stage.differences:
                table.add_row(stage.name, *[""] * 5, verdict)
            for position, item in enumerate(stage.differences):
                first, last = ("", "") if position else (stage.name, verdict)
                table.add_row(
                    first,
                    item.quantity,
                    item.format_largest() if item.within else f"[red]{item.format_largest()}[/]",
                    f"{item.limit:g}",
                    item.unit,
                    Text(item.worst if item.largest != 0 else ""),
                    last,
                )
        return table
