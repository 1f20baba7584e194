"""What a benchmark says in words and figures, whatever it is written on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from pedseg_runtime.text import pluralize

from ..results import BenchmarkResult, ContenderResult
from ..statistics import FEW_ROUNDS, Speedup

BUSY_SHARE = 0.25
RARE_CALLS = 100
SURE = 0.01  # a trend that chance makes once in a hundred runs
NOTABLE_DRIFT = 5.0  # percent
CORRECTNESS = {"ap": "AP"}


def title(result: BenchmarkResult) -> str:
    """What was measured, in one line."""
    architecture = result.settings["architecture"]
    return (
        f"{architecture}, {pluralize(len(result.images), 'image')}, on {result.settings['device']}"
    )


def full_name(contender: ContenderResult) -> str:
    """Its name with its precision, unless the name says that already."""
    name, precision = contender.name, contender.precision
    return name if precision in name else f"{name} {precision}"


def verdict(contender: ContenderResult) -> str:
    """`truth`, `parity passed`, `AP FAILED`, ..., and whether the times ever settled."""
    if contender.judged_by == "truth":
        word = "truth"
    else:
        check = CORRECTNESS.get(contender.judged_by, contender.judged_by)
        word = f"{check} {'passed' if contender.passed else 'FAILED'}"
    return f"{word}, unstable" if contender.stable is False else word


def runs_on(contender: ContenderResult) -> str:
    """The provider as a reader calls it."""
    return contender.provider.replace("ExecutionProvider", " by onnxruntime")


def accuracy(contender: ContenderResult) -> str:
    """`box AP / mask AP` in 0..1 of this very file, or nothing."""
    found = contender.accuracy
    return f"{found['bbox']:.3f} / {found['segm']:.3f}" if found else ""


def ratio(speedup: Speedup) -> str:
    """`1.59 [1.51, 1.78]`."""
    return f"{speedup.median:.2f} [{speedup.low:.2f}, {speedup.high:.2f}]"


def milliseconds(value: float) -> str:
    """With as many digits as a timing is good for."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def mebibytes(value: float | None) -> str:
    """Bytes as MiB, or nothing."""
    if value is None:
        return ""
    size = value / 2**20
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}"


def middle(samples: list[float]) -> str:
    """The median of some timings in milliseconds."""
    return milliseconds(median(samples)) if samples else ""


def headline(result: BenchmarkResult) -> str:
    """The answer: the fastest contender whose answers are right, its ratio and how sure it is."""
    timed = [row for row in result.contenders if row.latency and row.speedup]
    if not timed:
        return "No contender beside eager gave right answers, so there is no speed to report."
    best = max(timed, key=_gain)
    sentence = _claim(best, result.contenders[0])
    exact = [row for row in timed if row.judged_by == "parity"]
    if best.judged_by != "parity" and exact:
        close = max(exact, key=_gain)
        assert close.speedup is not None
        sentence += (
            f" Of those that agree with eager detection by detection, {full_name(close)} is the "
            f"fastest: {_times(close.speedup)}."
        )
    return sentence


def _gain(row: ContenderResult) -> float:
    return row.speedup.median if row.speedup else 0.0


def _claim(best: ContenderResult, eager: ContenderResult) -> str:
    speedup, latency = best.speedup, best.latency
    assert speedup is not None
    assert latency is not None
    if speedup.low <= 1:
        return (
            f"No contender was shown to be faster than eager: the best is {full_name(best)}, "
            f"{_times(speedup)}."
        )
    against = f" against {milliseconds(eager.latency.p50)}" if eager.latency else ""
    return (
        f"{full_name(best)} is the fastest contender whose answers are right: "
        f"{_times(speedup)}, {milliseconds(latency.p50)}{against} ms per image in the median."
    )


def _times(speedup: Speedup) -> str:
    return (
        f"{speedup.median:.2f} times as fast as eager ({100 * speedup.confidence:g} % interval "
        f"{speedup.low:.2f} to {speedup.high:.2f})"
    )


def warnings(result: BenchmarkResult) -> list[str]:
    """What a reader must know before using a figure: busy, unstable, failed, not run."""
    return [
        *_interim(result),
        *_few(result),
        *_busy(result),
        *_drift(result),
        *_unstable(result),
        *(f"{row.name}: {correctness(row)}" for row in result.contenders if not row.passed),
        *(f"{row.name} was not run: {row.reason}" for row in result.not_run),
    ]


def _interim(result: BenchmarkResult) -> Iterator[str]:
    if result.settings.get("interim"):
        yield "it was ended before it was finished: this is what was known a while before"


def _few(result: BenchmarkResult) -> Iterator[str]:
    rounds = max((len(row.samples_ms) for row in result.contenders), default=0)
    if 0 < rounds < FEW_ROUNDS:
        yield (
            f"intervals of {pluralize(rounds, 'round')} promise more than they hold: measure "
            f"{FEW_ROUNDS} or more"
        )


def _busy(result: BenchmarkResult) -> Iterator[str]:
    """A warning if other programs held more than a quarter of the cores before the start."""
    cpu = result.environment["cpu"]
    load, cores = cpu["load_average"], cpu["usable_cores"]
    busy = cpu.get("busy_cores")
    if busy is None and load:  # not every system tells, and older documents do not
        busy = load[0]
    if busy is not None and cores and busy > BUSY_SHARE * cores:
        yield (
            f"the machine was busy before the start ({busy} of {pluralize(cores, 'core')}): "
            "take the times again on an idle one before you publish them"
        )


def _drift(result: BenchmarkResult) -> Iterator[str]:
    drift = result.drift
    if drift and drift.p_value < SURE and abs(drift.percent) >= NOTABLE_DRIFT:
        word = "slower" if drift.percent > 0 else "faster"
        yield (
            f"eager grew {abs(drift.percent):.0f} % {word} from the first round to the last: "
            "ratios to eager hold, since rounds are interleaved; do not quote the milliseconds"
        )


def _unstable(result: BenchmarkResult) -> Iterator[str]:
    names = [row.name for row in result.contenders if row.stable is False]
    if names:
        yield (
            f"the times never settled for {', '.join(names)}: measure more rounds on an idle "
            "machine before you rely on them"
        )


def correctness(contender: ContenderResult) -> str:
    """The verdict on a contender with the figures it rests on, in one line."""
    if contender.judged_by == "agreement":
        return f"agreement {'passed' if contender.passed else 'FAILED'}: {contender.reason}"
    lines = [part for part in (_gate(contender), _parity(contender)) if part]
    return "; ".join(lines) or contender.reason or verdict(contender)


def _gate(contender: ContenderResult) -> str:
    gate = contender.gate
    if not gate:
        return ""
    outcome = str(gate["outcome"])
    return f"AP {outcome if contender.passed else outcome.upper()}: {gate['reason']}"


def _parity(contender: ContenderResult) -> str:
    parity = contender.parity
    if not parity:
        return ""
    if not parity["passed"]:
        # A lower precision moves every detection a little: that is no verdict on it.
        word = "parity FAILED" if contender.judged_by == "parity" else "against eager"
        return f"{word}: {parity['reason']}"
    largest = ", ".join(
        f"{field['name']} {field['max']:.1e} {field['unit']}".strip() for field in parity["fields"]
    )
    counts = parity["counts"]
    return (
        f"parity passed, {pluralize(counts['matched'], 'detection')}, largest differences: "
        f"{largest}, {pluralize(counts['benign_flips'], 'benign flip')}"
    )


def caption(result: BenchmarkResult) -> str:
    """How the times were taken."""
    settings = result.settings
    masks = "masks pasted" if settings["paste"] else "artifacts' masks not pasted (eager's are)"
    calls = max((row.latency.count for row in result.contenders if row.latency), default=0)
    rare = "; p99 of fewer than 100 calls is close to the maximum" if calls < RARE_CALLS else ""
    rounds = calls // len(result.images) if result.images else 0
    return (
        f"One image per call, {rounds} interleaved rounds ({calls} calls each) after warm-up; "
        f"{settings['threads']} threads; {masks}; x eager: how many times faster, median "
        f"over calls with a 95 % bootstrap interval{rare}."
    )


def conditions(result: BenchmarkResult) -> Iterator[str]:
    """The machine and its libraries, a line each."""
    environment = result.environment
    cpu, versions = environment["cpu"], environment["versions"]
    busy = cpu.get("busy_cores")
    yield (
        f"{cpu['model']}, {cpu['usable_cores']} usable cores, {cpu['capability']}, "
        f"{environment['memory_gib']} GiB, load {cpu['load_average']}, "
        f"cores busy before the start: {'unknown' if busy is None else busy}"
    )
    if environment["gpu"]:
        yield ", ".join(f"{name} {value}" for name, value in environment["gpu"].items())
    yield f"{environment['os']}, Python {environment['python']}, " + ", ".join(
        f"{name} {version}" for name, version in versions.items() if version
    )
    yield "TF32: " + ", ".join(
        f"{where} {'on' if state else 'off'}" for where, state in environment["tf32"].items()
    )


def flattened(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of nested settings as (path in words, value in words)."""
    for name, value in values.items():
        path = f"{above} {name}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from flattened(value, path)
        elif isinstance(value, list | tuple):
            yield path, ", ".join(str(part) for part in value)
        else:
            yield path, "unknown" if value is None else str(value)
