"""A benchmark for people: a table for the terminal and one for a document.

A contender whose parity failed has no time in either: a wrong answer has no speed.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from .results import BenchmarkResult, ContenderResult

HEADINGS = (
    "contender",
    "runs on",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "times eager's speed",
    "images/s",
    "detections",
    "parity",
)
NUMERIC = HEADINGS[2:8]


def table(result: BenchmarkResult) -> Table:
    """The result as a rich table."""
    view = Table(
        title=_title(result), caption=_caption(result), title_justify="left", caption_justify="left"
    )
    for heading in HEADINGS:
        view.add_column(heading, justify="right" if heading in NUMERIC else "left")
    for contender in result.contenders:
        style = "" if contender.parity_passed else "red"
        view.add_row(*(Text(cell, style=style) for cell in _cells(contender)))
    return view


def markdown(result: BenchmarkResult) -> str:
    """The result as a Markdown document: the table, the conditions and the failures."""
    rows = [HEADINGS, *(_cells(contender) for contender in result.contenders)]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    rule = " | ".join("---:" if heading in NUMERIC else "---" for heading in HEADINGS)
    parts = [
        f"# {_title(result)}",
        "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:])),
        _caption(result),
        "\n".join(f"- {line}" for line in _conditions(result)),
    ]
    parts += [f"- {line}" for line in failures(result)]
    return "\n\n".join(parts) + "\n"


def failures(result: BenchmarkResult) -> list[str]:
    """One line per contender whose parity failed."""
    return [
        f"{contender.name}: parity FAILED: {_reason(contender)}"
        for contender in result.contenders
        if not contender.parity_passed
    ]


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
    return (
        f"{contender.name} {contender.precision}",
        contender.provider,
        *times,
        str(sum(contender.detections)),
        _parity(contender),
    )


def _parity(contender: ContenderResult) -> str:
    """The verdict in a few words, never without the largest differences it rests on."""
    if contender.parity is None:
        return "reference"
    if not contender.parity_passed:
        return "FAILED"
    largest = {field["name"]: field["max"] for field in contender.parity["fields"]}
    flips = contender.parity["counts"]["benign_flips"]
    return (
        f"passed: {largest['boxes']:.1e} px, score {largest['scores']:.1e}, "
        f"mask {largest['roi_masks']:.1e}" + (f", {flips} benign flips" if flips else "")
    )


def _reason(contender: ContenderResult) -> str:
    return str(contender.parity["reason"]) if contender.parity else ""


def _title(result: BenchmarkResult) -> str:
    architecture = result.settings["architecture"]
    return f"{architecture}, {len(result.images)} images, on {result.settings['device']}"


def _caption(result: BenchmarkResult) -> str:
    settings = result.settings
    masks = "masks pasted" if settings["paste"] else "artifacts' masks not pasted (eager's are)"
    calls = settings["rounds"] * len(result.images)
    rare = "; p99 of fewer than 100 calls is close to the maximum" if calls < 100 else ""
    return (
        f"One image per call, {settings['rounds']} interleaved rounds ({calls} calls each) after "
        f"warm-up; {settings['threads']} threads; {masks}; the ratio is the median over calls with "
        f"a 95 % bootstrap interval{rare}."
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
