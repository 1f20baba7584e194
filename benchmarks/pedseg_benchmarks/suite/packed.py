"""The suite from a kit: every result is on the disk the moment it exists."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing, write_json
from pedseg_train.eager import resolve_device

from ..results import BenchmarkResult
from . import packed_report
from .packed_plan import PackedPlan
from .runner import Budget, Outcome, Runner, Status, Step
from .unpack import unpack

SCHEMA, SCHEMA_VERSION = "pedseg-packed-suite", 1
KIT_VARIABLE = "PEDSEG_KIT"  # tells the tests where artifacts and images are
REPORTING = 15.0  # seconds of the budget that are kept for the page
RESULTS = DOCUMENT, MARKDOWN, PAGE, LOG = "suite.json", "suite.md", "suite.html", "log.txt"


@dataclass(kw_only=True)
class PackedResult:
    """What is known so far.

    Attributes:
        created: ISO 8601 time, UTC.
        device: that was asked for.
        budget_minutes: that was asked for.
        seconds: since the start.
        kit: the kit's listing without its parts.
        steps: those that were decided on, in order.
        documents: step -> what it made, as it wrote it; of a step that was cut short too.
        benchmarks: those of `documents` that are benchmarks.
    """

    created: str
    device: str
    budget_minutes: float
    kit: Mapping[str, Any]
    seconds: float = 0.0
    steps: list[Outcome] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)
    benchmarks: tuple[str, ...] = PackedPlan.benchmarks

    def to_dict(self) -> dict[str, Any]:
        """The document as plain values for JSON."""
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)

    @property
    def passed(self) -> bool:
        """Whether there is a benchmark, and no step failed."""
        failed = any(one.status is Status.FAILED for one in self.steps)
        return bool(self.parts()) and not failed

    def parts(self) -> dict[str, BenchmarkResult]:
        """The benchmarks by name."""
        return {
            name: BenchmarkResult.from_dict(self.documents[name])
            for name in self.benchmarks
            if name in self.documents
        }


def run_packed(
    kit_folder: Path,
    folder: Path,
    *,
    device: str,
    minutes: float,
    threads: int | None = None,
    notify: Callable[[str], object] = lambda _line: None,
    on_outcome: Callable[[Outcome], object] = lambda _outcome: None,
) -> PackedResult:
    """Run all steps of a kit that fit, and write four files.

    `suite.json`, `suite.md` and `log.txt` are written anew after every step, `suite.html` at the
    end.

    Args:
        kit_folder: as `pedseg-bench pack` wrote it.
        folder: for the results.
        device: "cpu", "cuda" or "cuda:N".
        minutes: the budget, unpacking included.
        threads: CPU threads of the contenders; None for torch's default.
        notify: is told which step begins.
        on_outcome: is told what became of each step.

    Raises:
        DeviceError: the device is not there.
        InputError: the kit cannot be used, or the budget is not positive.
    """
    place = parse_device(device)
    if place.kind not in ("cpu", "cuda"):
        raise InputError(f"device: expected cpu, cuda or cuda:N, found {device}")
    if minutes <= 0:
        raise InputError(f"budget: expected a positive number of minutes, found {minutes:g}")
    resolve_device(str(place))
    budget = Budget(total=60 * minutes - REPORTING)
    start = time.monotonic()
    notify(f"unpacking {kit_folder}")
    kit = unpack(kit_folder.resolve())  # its commands may run elsewhere
    listing = {name: value for name, value in kit.listing.items() if name != "parts"}
    result = PackedResult(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        device=str(place),
        budget_minutes=minutes,
        kit=listing,
        steps=[Outcome(name="unpack", status=Status.DONE, seconds=time.monotonic() - start)],
    )
    on_outcome(result.steps[0])
    work = kit.folder / f"work-{str(place).replace(':', '')}"
    environment = {**kit.environment(), KIT_VARIABLE: str(kit.folder)}
    runner = Runner(work, budget, notify, environment)
    (folder / LOG).unlink(missing_ok=True)
    for step in PackedPlan(kit, str(place), work, threads).steps():
        outcome = runner(step)
        if _collect(result, step, outcome) and outcome.status is Status.DROPPED:
            used = f"{outcome.reason}; what it wrote until then is used"
            outcome = dataclasses.replace(outcome, reason=used)
        result.steps.append(outcome)
        result.seconds = budget.spent
        _append(folder / LOG, outcome, runner.log(step))
        _write(result, folder)
        on_outcome(outcome)
    notify("writing the page")
    with replacing(folder / PAGE) as temporary:
        temporary.write_text(packed_report.as_html(result.to_dict(), result.parts()), "utf-8")
    return result


def _collect(result: PackedResult, step: Step, outcome: Outcome) -> bool:
    """Take what a step made; a step that was dropped before it ran has made nothing now."""
    has_run = outcome.status is Status.REUSED or outcome.seconds > 0
    if not has_run or not step.makes.is_file():
        return False
    try:
        text = step.makes.read_text(encoding="utf-8")
        found = read_tests(text) if step.makes.suffix == ".xml" else json.loads(text)
    except (ValueError, ElementTree.ParseError):
        return False
    result.documents[step.name] = found
    return True


def read_tests(text: str) -> dict[str, Any]:
    """Counts and failures of a JUnit report."""
    cases = list(ElementTree.fromstring(text).iter("testcase"))
    failures = [
        {"name": case.get("name"), "reason": (child.get("message") or "").split("\n")[0][:300]}
        for case in cases
        for child in case
        if child.tag in ("failure", "error")
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "passed": len(cases) - skipped - len(failures),
        "failed": len(failures),
        "skipped": skipped,
        "failures": failures,
    }


def _append(path: Path, outcome: Outcome, log: Path) -> None:
    """What a command said, under the command."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = log.read_text(errors="replace") if outcome.seconds and log.is_file() else ""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"# {outcome.name}: {outcome.status} {outcome.reason}\n")
        stream.write(f"$ {outcome.command}\n{said}\n" if said else "\n")


def _write(result: PackedResult, folder: Path) -> None:
    """The document and the text, anew."""
    write_json(folder / DOCUMENT, result.to_dict())
    with replacing(folder / MARKDOWN) as temporary:
        temporary.write_text(packed_report.as_markdown(result.to_dict(), result.parts()), "utf-8")
