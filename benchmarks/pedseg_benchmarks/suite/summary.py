"""What came of a suite: one document, one page to read, one to look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedseg_runtime.files import replacing, write_json

from ..report import markdown
from ..report.markdown import grid_table
from ..report.tables import Grid, grid
from ..results import BenchmarkResult
from .runner import Outcome, Status

SCHEMA, SCHEMA_VERSION = "pedseg-suite", 1


@dataclass(frozen=True, kw_only=True)
class SuiteResult:
    """One run of the suite.

    Attributes:
        created: ISO 8601 time, UTC.
        device: that was asked for.
        budget_minutes: that was asked for.
        seconds: that the run took; less than the sum of its steps if some were reused.
        steps: in order.
        parts: step -> path of its benchmark document, relative to the suite's folder.
    """

    created: str
    device: str
    budget_minutes: float
    seconds: float
    steps: Sequence[Outcome]
    parts: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The document as plain values for JSON."""
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)

    @property
    def passed(self) -> bool:
        """Whether there is a part, and no step failed."""
        return bool(self.parts) and not any(one.status is Status.FAILED for one in self.steps)


def write(result: SuiteResult, folder: Path) -> list[Path]:
    """Write `suite.json`, `suite.md` and `suite.html`; gives their paths."""
    parts = {
        name: BenchmarkResult.from_dict(json.loads((folder / path).read_text(encoding="utf-8")))
        for name, path in result.parts.items()
    }
    pages = {
        folder / "suite.md": as_markdown(result, parts),
        folder / "suite.html": as_html(result, parts),
    }
    write_json(folder / "suite.json", result.to_dict())
    for path, text in pages.items():
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / "suite.json", *pages]


def as_markdown(result: SuiteResult, parts: Mapping[str, BenchmarkResult]) -> str:
    """The steps, and every part in full."""
    text = [f"# {_title(result)}", _caption(result), grid_table(_steps(result.steps))]
    for name, part in parts.items():
        text.append(f"# {name}\n\n{demoted(markdown(part))}".rstrip())
    return "\n\n".join(text) + "\n"


def as_html(result: SuiteResult, parts: Mapping[str, BenchmarkResult]) -> str:
    """One page without script or network: the steps, then every part in full."""
    from ..report.page import suite_html  # only here is matplotlib needed

    return suite_html(
        _title(result),
        _caption(result),
        steps=_steps(result.steps),
        commands=[(step.name, step.command) for step in result.steps if step.command],
        parts=list(parts.items()),
    )


def _title(result: SuiteResult) -> str:
    return f"pedseg suite on {result.device}"


def _caption(result: SuiteResult) -> str:
    dropped = sum(one.status in (Status.DROPPED, Status.SKIPPED) for one in result.steps)
    failed = sum(one.status is Status.FAILED for one in result.steps)
    return (
        f"{result.created}; {result.seconds / 60:.1f} of {result.budget_minutes:g} minutes; "
        f"{len(result.steps)} steps, {failed} failed, {dropped} dropped or skipped."
    )


def _steps(steps: Sequence[Outcome]) -> Grid:
    return grid(
        "Steps",
        steps,
        {
            "step": lambda step: step.name,
            "outcome": lambda step: str(step.status),
            "why": lambda step: step.reason,
            "seconds": lambda step: f"{step.seconds:.0f}" if step.seconds else "",
        },
        words=3,
    )


def demoted(text: str) -> str:
    """Headings one level down, so that a part stands under its name."""
    return "\n".join(_demoted_lines(text))


def _demoted_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"#{line}" if line.startswith("#") else line
