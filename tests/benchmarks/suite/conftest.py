from __future__ import annotations

import pytest

from pedseg_benchmarks.results import BenchmarkResult


@pytest.fixture
def document(bench, images):
    """The result of a real benchmark of fakes."""
    rows, _, drift = bench.measure(
        [bench.contender("eager", 0.2), bench.contender("fp32.onnx", 0.1)], images
    )
    settings = {"architecture": "tiny", "device": "cpu", "threads": 2, "rounds": 4}
    environment = {
        "cpu": {
            "model": "c",
            "usable_cores": 2,
            "capability": "AVX2",
            "load_average": [0.1, 0.1, 0.1],
        },
        "memory_gib": 8,
        "gpu": None,
        "os": "Linux",
        "python": "3.12",
        "versions": {"torch": "2"},
        "tf32": {"torch_matmul": False},
        "threads": {"torch": 2},
        "onnxruntime_providers": [],
    }
    return BenchmarkResult(
        created="2026-01-01T00:00:00+00:00",
        settings={**settings, "warmup": 1, "paste": True},
        environment=environment,
        images=[{"name": "a.png", "height": 10, "width": 20}],
        contenders=rows,
        drift=drift,
    )
