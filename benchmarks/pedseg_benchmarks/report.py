"""A benchmark for people: a table for the terminal and one for a document.

A contender whose parity failed has no time in either: a wrong answer has no speed.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from pedseg_runtime.parity.report import counted

from .results import BenchmarkResult, ContenderResult

# Parity stands first, so that no terminal is too narrow to show it.
HEADINGS = (
    "contender",
    "parity",
    "runs on",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "x eager",
    "img/s",
    "found",
)
NUMERIC = HEADINGS[3:]
# Columns that may break their words over lines in a narrow terminal, never below this width.
MIN_WIDTHS = {"contender": 11, "runs on": 11, "x eager": 11}
BUSY_SHARE = 0.25


def table(result: BenchmarkResult) -> Table:
    """The result as a rich table; print it with `details` below."""
    view = Table(title=_title(result), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        view.add_column(
            heading,
            justify="right" if heading in NUMERIC else "left",
            no_wrap=heading not in MIN_WIDTHS,
            min_width=MIN_WIDTHS.get(heading),
            overflow="fold",
        )
    for contender in result.contenders:
        style = "" if contender.passed else "red"
        view.add_row(*(Text(cell, style=style) for cell in _cells(contender)))
    return view


def details(result: BenchmarkResult) -> list[str]:
    """What belongs to the table: how it was taken, and the parity of every artifact in numbers."""
    parity = (_parity(row) for row in result.contenders if row.parity)
    return [_caption(result), *_busy(result), *parity]


def markdown(result: BenchmarkResult) -> str:
    """The result as a Markdown document: the table, its details and the conditions."""
    rows = [HEADINGS, *(_cells(contender) for contender in result.contenders)]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    rule = " | ".join("---:" if heading in NUMERIC else "---" for heading in HEADINGS)
    parts = [
        f"# {_title(result)}",
        "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:])),
        "\n".join(f"- {line}" for line in details(result)),
        "## Conditions",
        "\n".join(f"- {line}" for line in _conditions(result)),
    ]
    return "\n\n".join(parts) + "\n"


def _cells(contender: ContenderResult) -> tuple[str, ...]:
    latency, speedup = contender.latency, contender.speedup
    if latency is None:
        times = ("failed", "", "", "", "")
    else:
        ratio = "1"
        if speedup is not None:
            ratio = f"{speedup.median:.2f} [{speedup.low:.2f}, {speedup.high:.2f}]"
        times = (
            f"{latency.p50:.1f}",
            f"{latency.p90:.1f}",
            f"{latency.p99:.1f}",
            ratio,
            f"{latency.images_per_second:.2f}",
        )
    verdict = "passed" if contender.passed else "FAILED"
    return (
        f"{contender.name} {contender.precision}",
        verdict if contender.parity else "truth",
        contender.provider.replace("ExecutionProvider", " by onnxruntime"),
        *times,
        str(sum(contender.detections)),
    )


def _parity(contender: ContenderResult) -> str:
    """The verdict on an artifact with the differences it rests on, in one line."""
    parity = contender.parity or {}
    if not contender.passed:
        return f"{contender.name}: parity FAILED: {parity['reason']}"
    largest = ", ".join(
        f"{field['name']} {field['max']:.1e} {field['unit']}" for field in parity["fields"]
    )
    counts = parity["counts"]
    return (
        f"{contender.name}: parity passed, {counts['matched']} detections, largest differences: "
        f"{largest}, {counts['benign_flips']} benign flips"
    )


def _title(result: BenchmarkResult) -> str:
    architecture = result.settings["architecture"]
    return f"{architecture}, {counted(len(result.images), 'image')}, on {result.settings['device']}"


def _caption(result: BenchmarkResult) -> str:
    settings = result.settings
    masks = "masks pasted" if settings["paste"] else "artifacts' masks not pasted (eager's are)"
    calls = settings["rounds"] * len(result.images)
    rare = "; p99 of fewer than 100 calls is close to the maximum" if calls < 100 else ""
    return (
        f"One image per call, {settings['rounds']} interleaved rounds ({calls} calls each) after "
        f"warm-up; {settings['threads']} threads; {masks}; x eager: how many times faster, median "
        f"over calls with a 95 % bootstrap interval{rare}."
    )


def _busy(result: BenchmarkResult) -> Iterator[str]:
    """A warning if other programs held more than a quarter of the cores before the start."""
    cpu = result.environment["cpu"]
    load, cores = cpu["load_average"], cpu["usable_cores"]
    if load and cores and load[0] > BUSY_SHARE * cores:
        yield (
            f"the machine was busy before the start (load {load[0]} on {counted(cores, 'core')}): "
            "take the times again on an idle one before you publish them"
        )


def _conditions(result: BenchmarkResult) -> Iterator[str]:
    """The machine and the times that stay outside the table."""
    environment = result.environment
    cpu, versions = environment["cpu"], environment["versions"]
    yield (
        f"{cpu['model']}, {cpu['usable_cores']} usable cores, {cpu['capability']}, "
        f"{environment['memory_gib']} GiB, load {cpu['load_average']}"
    )
    if environment["gpu"]:
        yield ", ".join(f"{name} {value}" for name, value in environment["gpu"].items())
    yield f"{environment['os']}, Python {environment['python']}, " + ", ".join(
        f"{name} {version}" for name, version in versions.items() if version
    )
    yield "TF32: " + ", ".join(
        f"{where} {'on' if state else 'off'}" for where, state in environment["tf32"].items()
    )
    for contender in result.contenders:
        sizes = ", ".join(f"{size} {ms:.0f}" for size, ms in contender.first_of_size_ms.items())
        peak = contender.peak_memory_bytes
        memory = f", peak GPU memory {peak / 2**20:.0f} MiB" if peak is not None else ""
        yield (
            f"{contender.name}: load {contender.load_ms:.0f} ms, first call "
            f"{contender.first_call_ms:.0f} ms, first of each size (ms): {sizes}{memory}"
        )
