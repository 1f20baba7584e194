"""What became of a step, as the commands tell it."""

from __future__ import annotations

from pedseg_runtime.console import notes

from ..suite.runner import Outcome, Status

STYLES = {Status.FAILED: "red", Status.DROPPED: "yellow", Status.SKIPPED: "yellow"}


def tell(outcome: Outcome) -> None:
    """Print a line on standard error."""
    why = f": {outcome.reason}" if outcome.reason else ""
    line = f"{outcome.name}: {outcome.status} in {outcome.seconds:.0f} s{why}"
    notes.print(line, markup=False, style=STYLES.get(outcome.status, "green"))
