"""Runs pedseg's commands one after the other, shows each, and remembers how long it took."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points


@dataclass(frozen=True, slots=True)
class Step:
    """One command that was run.

    Attributes:
        purpose: what it was for, in a few words.
        command: as it would be typed.
        seconds: that it took.
    """

    purpose: str
    command: str
    seconds: float


@dataclass(slots=True)
class Steps:
    """The commands so far, in order."""

    done: list[Step] = field(default_factory=list)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.done)

    @property
    def seconds(self) -> float:
        """Of all commands."""
        return sum(step.seconds for step in self.done)

    def run(self, purpose: str, *command: object) -> None:
        """Print a command and run it; a failure ends the demo with its exit code.

        The commands run in this process, so that PyTorch is imported once and not seven times.
        """
        words = [str(word) for word in command]
        line = shlex.join(words)
        print(f"\n$ {line}", flush=True)
        start = time.perf_counter()
        (script,) = entry_points(group="console_scripts", name=words[0])
        try:
            script.load().main(words[1:], prog_name=words[0])
        except SystemExit as end:
            if end.code:
                sys.exit(end.code)
        self.done.append(Step(purpose, line, time.perf_counter() - start))
