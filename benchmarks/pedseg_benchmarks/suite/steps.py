"""Steps of the suite, what becomes of them, and the budget that they share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

SLOWEST_START = 5.0  # seconds; nothing that imports torch is done sooner


class Status(StrEnum):
    """What became of a step."""

    DONE = "done"
    REUSED = "reused"
    CARRIED = "carried over"
    FAILED = "failed"
    DROPPED = "dropped"
    SKIPPED = "skipped"


SUCCESSES = (Status.DONE, Status.REUSED, Status.CARRIED)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command and what it makes.

    Attributes:
        name: unique.
        command: makes the command line when it is the step's turn, from the names of the steps
            that succeeded before: a name of `PROGRAMS` or "python", and arguments.
        makes: the file that is there when it has succeeded.
        needs: names of steps without which it has no sense.
        seconds: what it takes on two cores of a server of 2023, for the budget.
        accepts: exit codes that are a success if `makes` was made.
        prepare: is called before the command, e.g. to remove what an unfinished one left.
    """

    name: str
    command: Callable[[frozenset[str]], list[str]]
    makes: Path
    seconds: float
    needs: tuple[str, ...] = ()
    accepts: tuple[int, ...] = (0,)
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a step, as it stands in the suite's document.

    Attributes:
        name: of the step.
        status: see `Status`.
        seconds: that it took now; of the earlier run if it was reused.
        command: as a person would type it; empty if it came to none.
        reason: why it is not simply done; empty otherwise.
    """

    name: str
    status: Status
    seconds: float = 0.0
    command: str = ""
    reason: str = ""


@dataclass
class Budget:
    """Seconds that are left, and how this machine compares with what steps are planned for.

    Attributes:
        total: seconds in all.
        clock: monotonic seconds.
        scale: how many times longer than planned things take here, learnt from step to step.
    """

    total: float
    clock: Callable[[], float] = time.monotonic
    scale: float = 1.0
    _start: float = field(init=False)
    _planned: float = 0.0
    _taken: float = 0.0

    def __post_init__(self) -> None:
        self._start = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.total - self.spent)

    def expected(self, step: Step) -> float:
        """Seconds that a step will take here."""
        return max(SLOWEST_START, step.seconds * self.scale)

    def learn(self, step: Step, seconds: float) -> None:
        """Take note of what a step took; the first guess counts as much as one minute of steps."""
        self._planned += step.seconds
        self._taken += seconds
        self.scale = (60 * self.scale + self._taken) / (60 + self._planned)
