"""What is known of every contender: times, spread, placement of nodes, files and memory."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from ...results import BenchmarkResult, ContenderResult
from ..wording import accuracy, full_name, mebibytes, middle, milliseconds, ratio, runs_on, verdict
from .grid import Grid


def contenders(result: BenchmarkResult) -> Grid:
    """The main table; who failed has no time in it, since a wrong answer has no speed."""
    rows = result.contenders
    has_ap = any(row.accuracy for row in rows)
    # The verdict stands beside the name, so that no terminal is too narrow to show it.
    headings = ["contender", "verdict", "runs on", "p50 ms", "p90 ms", "p99 ms", "x eager", "img/s"]
    headings += ["AP box / mask"] * has_ap + ["found"]
    return Grid(
        title="Latency, one image per call",
        headings=tuple(headings),
        rows=[
            (
                full_name(row),
                verdict(row),
                runs_on(row),
                *_times(row),
                *[accuracy(row)] * has_ap,
                str(sum(row.detections)),
            )
            for row in rows
        ],
        words=3,
        bad=frozenset(index for index, row in enumerate(rows) if not row.passed),
    )


def _times(contender: ContenderResult) -> tuple[str, ...]:
    latency, speedup = contender.latency, contender.speedup
    if latency is None:
        return ("failed" if not contender.passed else "not timed", "", "", "", "")
    return (
        *(milliseconds(value) for value in (latency.p50, latency.p90, latency.p99)),
        ratio(speedup) if speedup else "1",
        f"{latency.images_per_second:.2f}",
    )


def spread(rows: Iterable[ContenderResult]) -> Grid:
    """How far the timed calls lie apart, and by which clock."""
    timed = [(row, row.latency) for row in rows if row.latency]
    has_device = any(row.device_samples_ms for row, _ in timed)
    headings = [
        "contender",
        "calls",
        "min ms",
        "mean ms",
        "std ms",
        "max ms",
        "outliers",
        "settled",
    ]
    return Grid(
        title="Spread of the timed calls",
        headings=(*headings, *["GPU's clock p50 ms"] * has_device),
        rows=[
            (
                full_name(row),
                str(latency.count),
                *(milliseconds(v) for v in (latency.min, latency.mean, latency.std, latency.max)),
                "" if row.outliers is None else str(row.outliers),
                "" if row.stable is None else "yes" if row.stable else "NO",
                *[middle(list(chain.from_iterable(row.device_samples_ms)))] * has_device,
            )
            for row, latency in timed
        ],
        note="Outliers stay in every figure. Settled: the last windows of rounds agreed.",
    )


def placement(rows: Iterable[ContenderResult]) -> Grid:
    """Which provider runs how many nodes."""
    known = [row for row in rows if row.placement]
    providers = list(dict.fromkeys(name for row in known for name in row.placement or ()))
    return Grid(
        title="Where the nodes of the graph run",
        headings=("contender", *(name.replace("ExecutionProvider", "") for name in providers)),
        rows=[
            (full_name(row), *(str((row.placement or {}).get(name, 0)) for name in providers))
            for row in known
        ],
        note="Memcpy counts the copies between devices that onnxruntime inserted."
        if "Memcpy" in providers
        else "",
    )


def files(rows: Iterable[ContenderResult]) -> Grid:
    """Size, start and memory of every contender."""
    return Grid(
        title="Files, first calls and memory",
        headings=(
            "contender",
            "sha256",
            "file MiB",
            "load ms",
            "first call ms",
            "new size ms",
            "compile ms",
            "GPU MiB",
            "RSS MiB",
        ),
        rows=[
            (
                full_name(row),
                row.sha256[:12],
                mebibytes(row.size_bytes),
                milliseconds(row.load_ms),
                milliseconds(row.first_call_ms),
                middle(list(row.first_of_size_ms.values())[1:]),
                "" if row.compile_ms is None else milliseconds(row.compile_ms),
                mebibytes(row.peak_memory_bytes),
                mebibytes(row.peak_rss_bytes),
            )
            for row in rows
        ],
        words=2,
        note="New size: median of the first calls on every further image size. GPU: what torch "
        "allocated. RSS: of the contender's own process, where each had one.",
    )
