"""A comparison of two benchmarks as a value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..statistics import Change
from .differences import Difference

SCHEMA, SCHEMA_VERSION = "pedseg-comparison", 1


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one contender.

    Attributes:
        contender: its name.
        verdict: `slower`, `faster`, `no difference shown`, ..., `newly failed` or `missing`.
        regression: whether a pipeline should stop for it.
        old_ms, new_ms: medians of all calls; None where there are no times.
        absolute: change of its times; None where a side has none.
        relative: change of its times in units of eager's in the same round, which the speed of the
            machine does not touch; None for eager, or where a side has no eager to compare with.
        reason: what explains a verdict that is not about times; may be empty.
    """

    contender: str
    verdict: str
    regression: bool
    old_ms: float | None = None
    new_ms: float | None = None
    absolute: Change | None = None
    relative: Change | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two benchmarks compared.

    Attributes:
        old, new: when they were measured.
        threshold: share by which something must have become slower to be a regression.
        judged_by: `relative` or `absolute`, see `Row`.
        differences: what else is not the same.
        rows: contenders in the order of the old benchmark, then new ones.
        schema, schema_version: what kind of document this is.
    """

    old: str
    new: str
    threshold: float
    judged_by: str
    differences: list[Difference]
    rows: list[Row]
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION

    @property
    def passed(self) -> bool:
        """Whether nothing became worse."""
        return not any(row.regression for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {**dataclasses.asdict(self), "passed": self.passed}
