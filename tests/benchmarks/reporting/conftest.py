"""A benchmark that nobody ran: every kind of row, warning and section, drawn from a seed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pedseg_benchmarks.results import BenchmarkResult, ContenderResult, Drift, NotRun
from pedseg_benchmarks.scenario_results import (
    ColdStart,
    CostModel,
    Limit,
    Machine,
    Offline,
    ScenarioResults,
    Server,
    StageTime,
    SurfacePoint,
)
from pedseg_benchmarks.statistics import speedup_over, summarise

ROUNDS, IMAGES = 20, 6
EAGER_MS = 2800.0
SIZES = [(397, 492), (480, 640), (397, 492), (336, 448), (480, 640), (397, 492)]
# name, format, precision, provider, ms, judged by, passed, stable
CONTENDERS: list[tuple[str, str, str, str, float, str, bool, bool | None]] = [
    ("eager", "torch", "fp32", "torch:cpu", EAGER_MS, "truth", True, True),
    ("eager-channels-last", "torch", "fp32", "torch:cpu", 2610.0, "parity", True, True),
    ("eager-autocast-bf16", "torch", "bf16", "torch:cpu", 3350.0, "ap", True, True),
    ("stock-onnx", "stock-onnx", "fp32", "CPUExecutionProvider", 1990.0, "parity", True, True),
    ("street.torchscript", "torchscript", "fp32", "torch:cpu", 2700.0, "parity", True, False),
    ("street.onnx", "onnx", "fp32", "CPUExecutionProvider", 1640.0, "parity", True, True),
    ("street-openvino", "openvino", "fp32", "OpenVINO:CPU", 1360.0, "parity", True, True),
    ("street-int8.onnx", "onnx", "int8", "CPUExecutionProvider", 655.0, "ap", True, True),
    ("street-fp16.onnx", "onnx", "fp16", "CPUExecutionProvider", 2100.0, "ap", False, None),
    ("broken.onnx", "onnx", "fp32", "CPUExecutionProvider", 999.0, "parity", False, None),
]
TIMED = ("eager", "street.onnx", "street-openvino", "street-int8.onnx")


def seconds_of(
    milliseconds: float,
    generator: np.random.Generator,
    *,
    rounds: int = ROUNDS,
    drift: np.ndarray | None = None,
) -> np.ndarray:
    """Times as a machine gives them, [rounds, images]: noise, drift, now and then a slow call."""
    shape = (rounds, IMAGES)
    seconds = milliseconds / 1e3 * np.exp(generator.normal(0, 0.03, shape))
    seconds *= np.array([height * width / (397 * 492) for height, width in SIZES]) ** 0.2
    seconds *= 1 if drift is None else drift[:, None]
    return seconds * np.where(generator.random(shape) < 0.02, generator.uniform(1.3, 2, shape), 1)


def parity_of(passed: bool) -> dict[str, Any]:
    """What the report reads of a parity report."""
    fields = [
        {"name": "scores", "max": 2e-5, "unit": "", "limit": 1e-4, "within": True},
        {"name": "boxes", "max": 0.0022, "unit": "px", "limit": 0.05, "within": True},
    ]
    reason = "all within" if passed else "boxes differ by up to 0.5 pixels on b.png (limit 0.05)"
    counts = {"matched": 41, "benign_flips": 1, "defects": 0 if passed else 3}
    return {"passed": passed, "reason": reason, "fields": fields, "counts": counts}


def gate_of(passed: bool) -> dict[str, Any]:
    if passed:
        reason = "box AP lost 0.15 points, surely within the 0.5 allowed (95% interval ...)"
        return {"outcome": "passes", "reason": reason}
    return {"outcome": "fails", "reason": "mask AP lost 2.10 points, more than the 0.5 allowed"}


def contender_of(spec: tuple[Any, ...], eager: np.ndarray, seconds: np.ndarray) -> ContenderResult:
    name, kind, precision, provider, ms, judge, passed, stable = spec
    onnx = kind in ("onnx", "stock-onnx")
    return ContenderResult(
        name=name,
        format=kind,
        precision=precision,
        provider=provider,
        placement={"CPUExecutionProvider": 512, "Memcpy": 0} if onnx else None,
        sha256=f"{abs(hash(spec[4])):016x}" * 4,
        size_bytes=45_000_000 if precision == "int8" else 176_000_000,
        detections=[4, 2, 5, 0, 7 if precision == "int8" else 6, 3],
        parity=None if judge == "truth" else parity_of(passed and judge == "parity"),
        accuracy={"bbox": 0.8123 - ms / 1e6, "segm": 0.7421, "images": 60},
        gate=gate_of(passed) if judge == "ap" else None,
        judged_by=judge,
        passed=passed,
        load_ms=412.0,
        first_call_ms=ms * 1.4,
        first_of_size_ms={"397x492": ms * 1.4, "480x640": ms * 1.2, "336x448": ms * 1.1},
        peak_memory_bytes=None,
        peak_rss_bytes=1_450_000_000,
        latency=summarise(seconds) if passed else None,
        speedup=speedup_over(eager, seconds, resamples=200) if passed and name != "eager" else None,
        stable=stable,
        samples_ms=(seconds * 1e3).tolist() if passed else [],
        outliers=2 if passed else None,
    )


def sections_of(generator: np.random.Generator) -> ScenarioResults:
    """All sections, for the contenders of `TIMED`."""
    base = {name: ms for name, *_, ms, _judge, _passed, _stable in CONTENDERS if name in TIMED}

    def noisy(ms: float, count: int) -> list[float]:
        return (ms * np.exp(generator.normal(0, 0.02, count))).tolist()

    def queued(ms: float, rate: float) -> list[float]:
        busy = min(rate * ms / 1e3, 0.98)
        return (ms + generator.exponential(ms * busy / (1 - busy), 80)).tolist()

    server = []
    for name, ms in base.items():
        for rate in (0.2, 0.4, 0.6, 0.9, 1.2):
            samples = queued(ms, rate)
            p50, p90, p99 = np.percentile(samples, [50, 90, 99]).tolist()
            shed = 9 if rate * ms > 950 else 0
            server.append(
                Server(name, rate, 80, shed, p50, p90, p99, 5000, p99 <= 5000 and not shed, samples)
            )
    machine = Machine(205.0, 33.5, noisy(205.0, 15))
    surface, cost = [], []
    for name, ms in base.items():
        for count in (0, 1, 5, 20, 100):
            surface.append(SurfacePoint(name, 397, 492, count, noisy(ms * 0.92 + 9 * count, 5)))
        for height, width in ((400, 400), (300, 450), (360, 600)):
            factor = width / height / (492 / 397)
            surface.append(SurfacePoint(name, height, width, 4, noisy(ms * factor, 5)))
        cost.append(CostModel(name, ms * 0.07, 9.0, ms * 1.07, 0.987))
    return ScenarioResults(
        offline=[
            Offline(name, batch, 1e3 / ms * (1 + 0.04 * np.log2(batch)), noisy(ms * batch, 5))
            for name, ms in base.items()
            for batch in (1, 2, 4, 8)
        ],
        server=server,
        surface=surface,
        cost=cost,
        cold_start=[
            ColdStart(name, noisy(2900 if name == "eager" else 310, 5), noisy(420, 5), noisy(ms, 5))
            for name, ms in base.items()
        ],
        stages=[
            StageTime(name, stage, noisy(part * ms, 10))
            for name, ms in base.items()
            for stage, part in (
                ("decode", 0.01),
                ("graph", 0.93),
                ("paste", 0.05),
                ("encode", 0.01),
            )
        ],
        machine=machine,
        limits=[
            Limit(name, *size, 4, 268.0, 268e3 / ms, 268e3 / ms / machine.matmul_gflops)
            for name, ms in base.items()
            for size in SIZES[:3]
        ],
    )


def environment_of(load: float = 0.1) -> dict[str, Any]:
    return {
        "cpu": {
            "model": "AMD EPYC 9754",
            "architecture": "x86_64",
            "capability": "AVX512",
            "logical_cores": 4,
            "usable_cores": 4,
            "load_average": [0.1, 0.1, 0.1],
            "busy_cores": load,
        },
        "memory_gib": 24.0,
        "os": "Linux-6.8.0-x86_64-with-glibc2.39",
        "python": "3.12.3",
        "versions": {"pedseg": "0.1.0", "torch": "2.14.1", "onnxruntime": "1.31.1"},
        "threads": {"torch": 2, "onnxruntime": 2},
        "tf32": {"torch_matmul": False, "torch_cudnn": False, "onnxruntime": False},
        "gpu": None,
        "onnxruntime_providers": ["CPUExecutionProvider"],
    }


def document_of(
    *,
    seed: int = 0,
    slower: dict[str, float] | None = None,
    rounds: int = ROUNDS,
    contenders: tuple[str, ...] | None = None,
) -> BenchmarkResult:
    """A document; contenders of `slower` take so many times longer than they usually do."""
    generator = np.random.default_rng(seed)
    drift = np.exp(np.cumsum(generator.normal(0, 0.01, rounds)))
    rows, eager = [], np.empty(0)
    for spec in CONTENDERS:
        if contenders is not None and spec[0] not in contenders:
            continue
        factor = (slower or {}).get(spec[0], 1.0)
        seconds = seconds_of(spec[4] * factor, generator, rounds=rounds, drift=drift)
        eager = seconds if spec[0] == "eager" else eager
        rows.append(contender_of(spec, eager, seconds))
    return BenchmarkResult(
        created="2026-01-01T00:00:00+00:00",
        settings={
            "architecture": "maskrcnn_resnet50_fpn",
            "checkpoint_sha256": "c" * 64,
            "device": "cpu",
            "threads": 2,
            "warmup": 3,
            "rounds": rounds,
            "paste": True,
            "min_size": 800,
            "max_size": 1333,
            "score_threshold": 0.05,
            "nms_threshold": 0.5,
            "detections_per_image": 100,
        },
        environment=environment_of(),
        images=[
            {"name": f"{letter}.png", "height": height, "width": width}
            for letter, (height, width) in zip("abcdef", SIZES, strict=True)
        ],
        contenders=rows,
    )


@pytest.fixture
def document():
    """A document by the options of `document_of`."""
    return document_of


@pytest.fixture
def full() -> BenchmarkResult:
    """A document with everything in it, and everything to be warned of."""
    return dataclasses.replace(
        document_of(),
        environment=environment_of(load=3.5),
        sections=sections_of(np.random.default_rng(1)),
        not_run=[NotRun("tensorrt", "expected libnvinfer.so.10, found none; pip install ...")],
        drift=Drift(percent=8.0, p_value=0.002),
    )


@pytest.fixture
def quiet() -> BenchmarkResult:
    """A document without a warning."""
    wanted = ("eager", "street.onnx", "street-int8.onnx")
    return document_of(contenders=wanted)
