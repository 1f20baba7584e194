"""Steps of the suite, the budget that they share, and running their commands within it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from json import JSONDecodeError, loads
from pathlib import Path

from pedseg_runtime.files import write_json

PROGRAMS = {
    "pedseg-data": "pedseg_train.commands.data",
    "pedseg-train": "pedseg_train.commands.train",
    "pedseg-export": "pedseg_export.commands.export",
    "pedseg-verify": "pedseg_export.commands.verify",
    "pedseg-bench": "pedseg_benchmarks.cli",
    "pytest": "pytest",
}
SHORTEST_LIMIT = 90.0  # seconds; a step with little patience has that much
SLOWEST_START = 5.0  # seconds; nothing that imports torch is done sooner


class Status(StrEnum):
    """Outcome of a step."""

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
        patience: times what it is expected to take here after which it is ended.
        instead_of: name of a step that it stands in for; it is skipped where that one succeeded.
    """

    name: str
    command: Callable[[frozenset[str]], list[str]]
    makes: Path
    seconds: float
    needs: tuple[str, ...] = ()
    accepts: tuple[int, ...] = (0,)
    prepare: Callable[[], object] = lambda: None
    patience: float = float("inf")
    instead_of: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a step, as it stands in the suite's document.

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


class Runner:
    """Runs steps in a folder, remembers in it what was done, and writes every output to a log.

    Args:
        folder: for markers and logs.
        budget: for all steps together.
        notify: is told which step begins.
        environment: variables that the commands get beside this process's own.
    """

    def __init__(
        self,
        folder: Path,
        budget: Budget,
        notify: Callable[[str], object],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._markers, self._logs = folder / "steps", folder / "logs"
        self._environment = environment or {}
        self._budget = budget
        self._notify = notify
        self._became: dict[str, Status] = {}

    def __call__(self, step: Step) -> Outcome:
        """Run a step, or say why not."""
        outcome = self._decide(step)
        self._became[step.name] = outcome.status
        return outcome

    @property
    def succeeded(self) -> frozenset[str]:
        """Names of the steps whose files can be used."""
        return frozenset(name for name, status in self._became.items() if status in SUCCESSES)

    def log(self, step: Step) -> Path:
        """Where the output of a step's command is."""
        return self._logs / f"{step.name}.log"

    def _decide(self, step: Step) -> Outcome:
        if step.instead_of in self.succeeded:
            reason = f"{step.instead_of} succeeded"
            return Outcome(name=step.name, status=Status.SKIPPED, reason=reason)
        missing = [name for name in step.needs if name not in self.succeeded]
        if missing:
            reason = f"it needs {', '.join(missing)}"
            return Outcome(name=step.name, status=Status.SKIPPED, reason=reason)
        command = step.command(self.succeeded)
        line = shlex.join(command)
        earlier = self._remembered(step, line)
        if earlier is not None:
            return earlier
        left, expected = self._budget.left, self._budget.expected(step)
        if expected > left:
            reason = f"about {expected:.0f} s are needed, {left:.0f} s were left"
            return Outcome(name=step.name, status=Status.DROPPED, command=line, reason=reason)
        self._notify(f"{step.name}, about {expected:.0f} s, {left / 60:.1f} min left\n$ {line}")
        return self._run(step, command, line, left)

    def _run(self, step: Step, command: list[str], line: str, left: float) -> Outcome:
        start = time.monotonic()
        log = self.log(step)
        allowed = min(left, max(SHORTEST_LIMIT, step.patience * self._budget.expected(step)))
        log.parent.mkdir(parents=True, exist_ok=True)
        step.makes.parent.mkdir(parents=True, exist_ok=True)
        step.prepare()
        before = _stamp(step.makes)
        code = run_command(command, log, timeout=allowed, environment=self._environment)
        seconds = time.monotonic() - start
        if code is None:
            kind = "that were left" if allowed == left else "that it may take"
            reason = f"it did not finish in the {allowed:.0f} s {kind}"
            return Outcome(
                name=step.name,
                status=Status.DROPPED,
                seconds=seconds,
                command=line,
                reason=reason,
            )
        self._budget.learn(step, seconds)
        is_made = _stamp(step.makes) not in (None, before)
        if code not in step.accepts or not is_made:
            return Outcome(
                name=step.name,
                status=Status.FAILED,
                seconds=seconds,
                command=line,
                reason=_last_words(log, code),
            )
        reason = "" if code == 0 else f"exit code {code}: see its report"
        outcome = Outcome(
            name=step.name, status=Status.DONE, seconds=seconds, command=line, reason=reason
        )
        write_json(
            self._markers / f"{step.name}.json",
            {"command": line, "seconds": seconds, "reason": reason},
        )
        return outcome

    def _remembered(self, step: Step, line: str) -> Outcome | None:
        """What an earlier run left, if it still holds."""
        if not step.makes.exists():
            return None
        if carried_mark(step.makes).exists():
            return Outcome(name=step.name, status=Status.CARRIED, reason="from --artifacts")
        if any(self._became[name] is Status.DONE for name in step.needs):
            return None  # what it was made of is new
        try:
            marker = loads((self._markers / f"{step.name}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, JSONDecodeError):
            return None
        if marker["command"] != line:
            return None
        return Outcome(
            name=step.name,
            status=Status.REUSED,
            seconds=marker["seconds"],
            command=line,
            reason=marker["reason"],
        )


def carried_mark(path: Path) -> Path:
    """An empty file beside one that --artifacts brought."""
    return path.with_name(f"{path.name}.carried")


def run_command(
    command: Sequence[str],
    log: Path,
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> int | None:
    """Run a command with its output in `log`; None if it was ended because time was up."""
    program, *arguments = command
    words = [sys.executable, *arguments]
    if program in PROGRAMS:
        words = [sys.executable, "-m", PROGRAMS[program], *arguments]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            words,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with its children, gently first: it may have temporary files to remove."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is made anew."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


def _last_words(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error: ")]
    words = (errors or lines or ["it said nothing"])[-1].removeprefix("Error: ")
    return f"exit code {code}: {words}"
