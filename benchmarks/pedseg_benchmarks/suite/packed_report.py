"""The results of a kit's suite as a text and as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..report import markdown
from ..report.markdown import section
from ..report.tables import Grid, grid
from ..report.wording import milliseconds
from ..results import BenchmarkResult
from .packed_plan import VERIFY
from .summary import demoted

Document = Mapping[str, Any]
TOP = 12  # operators of a profile


def as_markdown(result: Document, parts: Mapping[str, BenchmarkResult]) -> str:
    """All tables, then every benchmark in full."""
    text = [f"# {_title(result)}", _caption(result)]
    text += [section(one) for one in tables(result)]
    for name, part in parts.items():
        text.append(f"# {name}\n\n{demoted(markdown(part))}".rstrip())
    return "\n\n".join(text) + "\n"


def as_html(result: Document, parts: Mapping[str, BenchmarkResult]) -> str:
    """One page without script or network."""
    from ..report.page import suite_html  # only here is matplotlib needed

    steps, *others = tables(result)
    return suite_html(
        _title(result),
        _caption(result),
        steps=steps,
        commands=[(one["name"], one["command"]) for one in result["steps"] if one["command"]],
        parts=list(parts.items()),
        tables=others,
    )


def tables(result: Document) -> list[Grid]:
    """The steps first, then those that have something to say of facts, parity, profiles, tests."""
    found = [_facts(result), _parity(result), *_profiles(result), _tests(result)]
    return [_steps(result), *(one for one in found if one.rows)]


def _title(result: Document) -> str:
    return f"pedseg from a kit on {result['device']}"


def _caption(result: Document) -> str:
    statuses = [one["status"] for one in result["steps"]]
    dropped = [one["name"] for one in result["steps"] if one["status"] == "dropped"]
    left_out = f" Dropped: {', '.join(dropped)}." if dropped else ""
    return (
        f"{result['created']}; {result['seconds'] / 60:.1f} of {result['budget_minutes']:g} "
        f"minutes; {len(statuses)} steps, {statuses.count('failed')} failed.{left_out}"
    )


def _steps(result: Document) -> Grid:
    return grid(
        "Steps",
        result["steps"],
        {
            "step": lambda one: one["name"],
            "outcome": lambda one: str(one["status"]),
            "why": lambda one: one["reason"],
            "seconds": lambda one: f"{one['seconds']:.0f}" if one["seconds"] else "",
        },
        words=3,
        bad=lambda one: one["status"] == "failed",
    )


def _facts(result: Document) -> Grid:
    return grid(
        "Facts of this device",
        result["documents"].get("facts", {}).get("findings", []),
        {
            "fact": lambda one: one["fact"],
            "case": lambda one: one["case"],
            "result": lambda one: one["result"],
            "ms": lambda one: "" if one["milliseconds"] is None else f"{one['milliseconds']:.3f}",
        },
        words=3,
        bad=lambda one: one["result"].startswith("fails"),
    )


def _parity(result: Document) -> Grid:
    rows = [
        (name.removeprefix(VERIFY), report)
        for name, report in result["documents"].items()
        if name.startswith(VERIFY)
    ]

    def largest(kind: str) -> Callable[[tuple[str, Document]], str]:
        def difference(row: tuple[str, Document]) -> str:
            found = [one["max"] for one in row[1]["fields"] if one["name"] == kind]
            return f"{found[0]:.2g}" if found and found[0] is not None else ""

        return difference

    return grid(
        "Parity with eager, on images of several sizes",
        rows,
        {
            "artifact": lambda row: row[0],
            "verdict": lambda row: "agrees" if row[1]["passed"] else "differs",
            "matched": lambda row: str(row[1]["counts"]["matched"]),
            "of": lambda row: str(row[1]["counts"]["reference"]),
            "max score difference": largest("scores"),
            "max box difference, px": largest("boxes"),
        },
        words=2,
        bad=lambda row: not row[1]["passed"],
    )


def _profiles(result: Document) -> Iterator[Grid]:
    for name, profile in result["documents"].items():
        if name.startswith("profile-"):
            yield grid(
                f"Time by operator, {profile['source']}",
                profile["operators"][:TOP],
                {
                    "operator": lambda one: one["operator"],
                    "runs on": lambda one: one["provider"],
                    "calls": lambda one: f"{one['calls']:g}",
                    "ms": lambda one: milliseconds(one["ms"]),
                    "share": lambda one: f"{one['share']:.1%}",
                },
                words=2,
                note=profile["note"],
            )


def _tests(result: Document) -> Grid:
    found = result["documents"].get("tests")
    if found is None:
        return grid("Tests on this device", [], {})
    rows = [(f"{found['passed']} passed", f"{found['skipped']} skipped")]
    rows += [(one["name"], one["reason"]) for one in found["failures"]]
    return grid(
        "Tests on this device",
        rows,
        {"test": lambda row: row[0], "result": lambda row: row[1]},
        words=2,
        bad=lambda row: row is not rows[0],
    )
