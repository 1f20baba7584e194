"""What came of a suite: one document, one page to read, one to look at."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedseg_runtime.files import replacing, write_json
from pedseg_runtime.parity.report import counted

from ..report import markdown
from ..results import BenchmarkResult, ContenderResult
from .steps import Outcome, Status

SCHEMA, SCHEMA_VERSION = "pedseg-suite", 1
HEADINGS = ("step", "what became of it", "seconds", "why")
COLUMNS = ("contender", "p50 ms", "x eager", "verdict", "box AP", "mask AP", "runs on")
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884;
  vertical-align: top }
code { font-size: .85em; overflow-wrap: anywhere }
.dim { opacity: .7; margin: .25rem 0 }
"""


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
    rows = [HEADINGS, ("---", "---", "---:", "---"), *_step_rows(result.steps)]
    table = "\n".join(f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows)
    text = [f"# {_title(result)}", _caption(result), table]
    for name, part in parts.items():
        text.append(f"# {name}\n\n{_demoted(markdown(part))}".rstrip())
    return "\n\n".join(text) + "\n"


def as_html(result: SuiteResult, parts: Mapping[str, BenchmarkResult]) -> str:
    """One page without script or network: the tables of all parts, then the steps."""
    body = [f"<h1>{_text(_title(result))}</h1>", f"<p>{_text(_caption(result))}</p>"]
    for name, part in parts.items():
        body.append(f"<h2>{_text(name)}</h2><p>{_text(_conditions(part))}</p>")
        body.append(_html_table(COLUMNS, [_contender(row) for row in part.contenders]))
        body += [
            f'<p class="dim">not run: {_text(one.name)}: {_text(one.reason)}</p>'
            for one in part.not_run
        ]
        where = _text(result.parts[name])
        body.append(f'<p>All of it: <a href="{where}">{where}</a></p>')
    body += ["<h2>Steps</h2>", _html_table(HEADINGS, _step_rows(result.steps))]
    commands = "".join(
        f"<li>{_text(step.name)}: <code>{_text(step.command)}</code></li>"
        for step in result.steps
        if step.command
    )
    body.append(f"<h2>Commands</h2><ol>{commands}</ol>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(_title(result))}</title><style>{STYLE}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
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


def _step_rows(steps: Sequence[Outcome]) -> list[tuple[str, ...]]:
    return [
        (step.name, str(step.status), f"{step.seconds:.0f}" if step.seconds else "", step.reason)
        for step in steps
    ]


def _contender(row: ContenderResult) -> tuple[str, ...]:
    verdict = f"{'passed' if row.passed else 'FAILED'} by {row.judged_by}"
    accuracy = row.accuracy or {}
    return (
        f"{row.name} {row.precision}",
        f"{row.latency.p50:.1f}" if row.latency else "failed",
        f"{row.speedup.median:.2f}" if row.speedup else "",
        "truth" if row.judged_by == "truth" else verdict,
        *(f"{accuracy[kind]:.3f}" if kind in accuracy else "" for kind in ("bbox", "segm")),
        row.provider.replace("ExecutionProvider", " by onnxruntime"),
    )


def _conditions(part: BenchmarkResult) -> str:
    """What the figures of a part were taken on."""
    cpu, gpu = part.environment["cpu"], part.environment["gpu"] or {}
    machine = gpu.get("name") or f"{cpu['model']}, {counted(cpu['usable_cores'], 'core')}"
    return (
        f"{part.settings['architecture']}, {counted(len(part.images), 'image')}, on "
        f"{part.settings['device']} of {machine}, load {cpu['load_average']} before the start"
    )


def _html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in headings)
    lines = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'


def _demoted(text: str) -> str:
    return "\n".join(_demoted_lines(text))


def _demoted_lines(text: str) -> Iterator[str]:
    """Headings one level down, so that every part stands under its name."""
    for line in text.splitlines():
        yield f"#{line}" if line.startswith("#") else line


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _text(text: str) -> str:
    return html.escape(text)
