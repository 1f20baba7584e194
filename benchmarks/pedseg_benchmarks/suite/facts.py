"""Facts about onnxruntime on a device, each from a graph of some nodes.

    python -m pedseg_benchmarks.suite.facts facts.json --device cuda

They tell why an artifact is slow, or wrong, on a device that has not been seen before: whether half
convolutions use tensor cores, what TopK makes of -inf, what a new shape costs, and whether nodes
take empty inputs. The file is written anew after every fact, so that a crash leaves those before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import onnxruntime as ort

from pedseg_runtime.backends.sessions import CUDA, LOG_FATAL, PROVIDERS
from pedseg_runtime.console import Command, notes
from pedseg_runtime.devices import Device, parse_device
from pedseg_runtime.errors import InputError, first_line, summarize
from pedseg_runtime.files import write_json

from . import probe_graphs as graphs

SCHEMA, SCHEMA_VERSION = "pedseg-facts", 1
CALLS = 20
SEARCH = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}  # as the runtime has it
SMALLER_ON_CPU = 4  # times
BOXES = (100, 1000, 4000)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in one case.

    Attributes:
        fact: the question.
        case: what was varied.
        result: in words.
        milliseconds: median of a call; None where no time was taken.
    """

    fact: str
    case: str
    result: str
    milliseconds: float | None = None


class Laboratory:
    """Runs small graphs on one device; its tensors stay there."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.on_gpu = device.kind == "cuda"
        self.either = "01" if self.on_gpu else "0"  # values of CUDA's options; none elsewhere
        self._scale = 1 if self.on_gpu else SMALLER_ON_CPU
        if self.on_gpu:
            ort.preload_dlls()

    def side(self, pixels: int) -> int:
        """A side of a feature map, smaller on the CPU, where work takes longer."""
        return pixels // self._scale

    def session(self, model: bytes, **cuda_options: str) -> Any:
        """A session on the device alone.

        Raises:
            RuntimeError: onnxruntime took another device.
        """
        options = ort.SessionOptions()
        options.log_severity_level = LOG_FATAL
        wanted = PROVIDERS[self._device.kind]
        own = {"device_id": str(self._device.index), **SEARCH, **cuda_options}
        providers: list[Any] = [(CUDA, own)] if self.on_gpu else [wanted]
        session = ort.InferenceSession(model, options, providers=providers)
        if session.get_providers()[0] != wanted:
            raise RuntimeError(f"{wanted} did not start")
        return session

    def timed(self, session: Any, feeds: Mapping[str, Any]) -> float:
        """Median milliseconds of a call, inputs and outputs on the device, after one more."""
        binding = self._bound(session, feeds)
        times = []
        for _ in range(CALLS + 1):
            start = time.perf_counter()
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            times.append(1e3 * (time.perf_counter() - start))
        return median(times[1:])

    def _bound(self, session: Any, feeds: Mapping[str, Any]) -> Any:
        kind, index = ("cuda" if self.on_gpu else "cpu"), self._device.index
        binding = session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, kind, index))
        for output in session.get_outputs():
            binding.bind_output(output.name, kind, index)
        return binding


def convolutions(laboratory: Laboratory) -> Iterator[Finding]:
    """Do half convolutions use tensor cores, with and without TF32, in either order of tensors?"""
    height, width = laboratory.side(200), laboratory.side(268)
    work = 2 * height * width * graphs.CHANNELS**2 * 9
    for dtype in ("float16", "float32"):
        model = graphs.convolution(dtype)
        pixels = _noise(1, graphs.CHANNELS, height, width).astype(dtype)
        for tf32 in laboratory.either:
            for nhwc in laboratory.either:
                case = f"{dtype}, use_tf32={tf32}, prefer_nhwc={nhwc}"

                def run(model: bytes = model, tf32: str = tf32, nhwc: str = nhwc) -> float:
                    session = laboratory.session(model, use_tf32=tf32, prefer_nhwc=nhwc)
                    return laboratory.timed(session, {"x": pixels})  # noqa: B023

                yield _timed("3x3 convolution", case, run, work=work)


def top_k(laboratory: Laboratory) -> Iterator[Finding]:
    """Which values and indices come back where fewer finite numbers than k are there?"""
    for padding in (-np.inf, float(np.finfo(np.float32).min)):
        for count in (300, 5000, 60000):
            finite = min(count // 2, 100)
            values = np.full((1, count), padding, np.float32)
            values[0, :finite] = np.linspace(1, 0, finite, dtype=np.float32)

            def run(values: Any = values, count: int = count, finite: int = finite) -> str:
                session = laboratory.session(graphs.top_k())
                k = np.array([min(count, 1000)], np.int64)
                found, indices = session.run(None, {"x": values, "k": k})
                return judge_top_k(values, found, indices, finite)

            yield _told("TopK of padding", f"{count} numbers, padded by {padding:.3g}", run)


def judge_top_k(values: Any, found: Any, indices: Any, finite: int) -> str:
    """What is wrong with the `found` values and `indices` [1, K] of [1, C] values, or "right".

    Args:
        values: descending, of which the first `finite` are no padding.
        found: the largest of them.
        indices: where they stand.
        finite: how many are no padding.
    """
    inside = (indices >= 0) & (indices < values.shape[1])
    faults = []
    if not np.array_equal(found[0, :finite], values[0, :finite]):
        faults.append("finite values wrong")
    if not inside.all():
        faults.append(f"{(~inside).sum()} indices out of range, e.g. {indices[~inside][0]}")
    elif not np.array_equal(values[0, indices[0]], found[0]):
        faults.append("values and indices do not belong together")
    if not np.array_equal(np.unique(found[0, finite:]), np.unique(values[0, finite:])):
        faults.append(f"padding comes back as {found[0, -1]:.3g}")
    if inside.all() and len(np.unique(indices)) != indices.size:
        faults.append("indices twice")
    return "; ".join(faults) or "right"


def shapes(laboratory: Laboratory) -> Iterator[Finding]:
    """What does a call cost whose shape was seen before, in turn with others, or never?"""
    session = laboratory.session(graphs.stack())
    height, width = laboratory.side(200), laboratory.side(268)
    cases = {
        "always one shape": [(1, height, width)],
        "two in turn": [(1, height, width), (1, height, width - 1)],
        "eight in turn": [(1, height, width - step) for step in range(8)],
        "always a new one": [(1, height - 1, width - step) for step in range(CALLS)],
        "14x14, always 8 rows": [(8, 14, 14)],
        "14x14, 1 to 8 rows in turn": [(rows, 14, 14) for rows in range(1, 9)],
    }
    for case, turn in cases.items():
        feeds = [{"x": _noise(rows, 64, *size)} for rows, *size in turn]
        run = partial(_in_turn, session, feeds, seen="new" not in case)
        yield _timed("four convolutions, copies included", case, run)


def _in_turn(session: Any, feeds: Sequence[Mapping[str, Any]], *, seen: bool) -> float:
    """Median milliseconds of a call; `seen` runs every shape once before."""
    for each in feeds if seen else ():
        session.run(None, each)
    times = []
    for call in range(CALLS):
        start = time.perf_counter()
        session.run(None, feeds[call % len(feeds)])
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def empty_inputs(laboratory: Laboratory) -> Iterator[Finding]:
    """Do nodes take inputs without rows?"""
    for name, (model, feeds) in graphs.empty_cases().items():

        def run(model: bytes = model, feeds: Mapping[str, Any] = feeds) -> str:
            outputs = laboratory.session(model).run(None, dict(feeds))
            return f"right, {'x'.join(map(str, outputs[0].shape))}"

        yield _told("no rows", name, run)


def suppression(laboratory: Laboratory) -> Iterator[Finding]:
    """What does NMS take for so many boxes?"""
    generator = np.random.default_rng(0)
    for count in BOXES:
        corners = generator.uniform(0, 700, (1, count, 2)).astype(np.float32)
        boxes = np.concatenate([corners, corners + 80], 2)
        scores = generator.uniform(size=(1, 1, count)).astype(np.float32)

        def run(boxes: Any = boxes, scores: Any = scores) -> float:
            session = laboratory.session(graphs.suppression())
            return laboratory.timed(session, {"boxes": boxes, "scores": scores})

        yield _timed("NonMaxSuppression", f"{count} boxes", run)


FACTS: tuple[Callable[[Laboratory], Iterator[Finding]], ...] = (
    convolutions,
    top_k,
    shapes,
    suppression,
    empty_inputs,
)


def collect(device: str, save: Callable[[list[Finding]], object]) -> list[Finding]:
    """All findings on a device, handed to `save` after every one.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        save: gets all findings so far.

    Raises:
        InputError: another device.
    """
    place = parse_device(device)
    if place.kind not in ("cpu", "cuda"):
        raise InputError(f"device: expected cpu, cuda or cuda:N, found {device}")
    laboratory = Laboratory(place)
    findings: list[Finding] = []
    for fact in FACTS:
        try:
            for finding in fact(laboratory):
                findings.append(finding)
                save(findings)
        except Exception as error:  # one fact less is no reason to go without the others
            findings.append(Finding(fact.__name__, "all", f"fails: {_short(error)}"))
            save(findings)
    return findings


def _timed(fact: str, case: str, run: Callable[[], float], *, work: int = 0) -> Finding:
    try:
        milliseconds = run()
    except Exception as error:  # whatever onnxruntime raises is the finding
        return Finding(fact, case, f"fails: {_short(error)}")
    rate = f"{work / milliseconds / 1e9:.3g} TFLOP/s" if work else ""
    return Finding(fact, case, rate, milliseconds)


def _told(fact: str, case: str, run: Callable[[], str]) -> Finding:
    try:
        return Finding(fact, case, run())
    except Exception as error:  # whatever onnxruntime raises is the finding
        return Finding(fact, case, f"fails: {_short(error)}")


def _short(error: Exception) -> str:
    return first_line(summarize(error))[:200]


def _noise(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _save(path: Path, device: str, findings: list[Finding]) -> None:
    write_json(
        path,
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "device": device,
            "onnxruntime": ort.__version__,
            "findings": [asdict(finding) for finding in findings],
        },
    )


@click.command(cls=Command)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
def main(path: Path, device: str) -> None:
    """Write to PATH what onnxruntime does on a device, each fact by itself."""
    for finding in collect(device, partial(_save, path, device)):
        taken = "" if finding.milliseconds is None else f"{finding.milliseconds:.3f} ms "
        notes.print(f"{finding.fact}, {finding.case}: {taken}{finding.result}", markup=False)


if __name__ == "__main__":
    main()
