"""The metrics as Prometheus reads them."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import (
    BatchingSegmenter,
    InputError,
    PrometheusMetrics,
    Segmenter,
    ShadowSegmenter,
    __version__,
)

prometheus_client = pytest.importorskip("prometheus_client", reason="needs prometheus-client")


def scraped(metrics: PrometheusMetrics) -> dict[str, dict[frozenset[Any], float]]:
    """Name of the sample -> its labels -> its value, as a server would parse the page."""
    from prometheus_client.parser import text_string_to_metric_families

    text = prometheus_client.generate_latest(metrics.registry).decode()
    found: dict[str, dict[frozenset[Any], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def labels(**values: str) -> frozenset[Any]:
    return frozenset({"segmenter": "default", **values}.items())


def test_what_happens_is_counted(segmenter: Segmenter, street: NDArray[np.uint8]) -> None:
    metrics = PrometheusMetrics()
    with (
        ShadowSegmenter(segmenter, segmenter, rate=1, max_share=1, observer=metrics) as shadow,
        BatchingSegmenter(shadow, observer=metrics) as batching,
    ):
        assert len(batching(street)) == 2
        with pytest.raises(InputError):
            batching(b"no image")
    with metrics.stage("encode"):
        pass
    found = scraped(metrics)
    assert found["pedseg_requests_total"] == {
        labels(outcome="answered", error=""): 1,
        labels(outcome="failed", error="InputError"): 1,
        labels(outcome="failed", error="DeviceError"): 0,
        labels(outcome="expired", error="DeadlineError"): 0,
        labels(outcome="rejected", error="QueueFullError"): 0,
    }
    assert found["pedseg_request_duration_seconds_count"] == {labels(): 1}
    assert found["pedseg_queue_length"] == {labels(): 0}
    assert found["pedseg_batch_size_sum"] == found["pedseg_batch_size_count"] == {labels(): 1}
    stages = {"decode": 2, "queue": 1, "run": 1, "encode": 1}
    counts = dict(found["pedseg_stage_duration_seconds_count"])
    reference = counts.pop(labels(stage="reference"), 0)
    assert counts == {labels(stage=name): count for name, count in stages.items()}
    samples = found["pedseg_shadow_samples_total"]
    assert samples[labels(outcome="agreed")] == reference == shadow.report().compared
    assert sum(samples.values()) == 1
    about = {
        "provider": "CPUExecutionProvider",
        "architecture": segmenter.manifest.architecture,
        "precision": "fp32",
        "format": "onnx",
        "checkpoint_sha256": segmenter.manifest.checkpoint_sha256,
        "version": __version__,
    }
    assert found["pedseg_segmenter_info"] == {
        labels(role=role, **about): 1 for role in ("primary", "reference")
    }


def test_names_follow_the_conventions() -> None:
    for family in PrometheusMetrics().registry.collect():
        assert re.fullmatch(r"pedseg_[a-z_]+", family.name)
        assert family.documentation
        if "duration" in family.name:
            assert family.name.endswith("_seconds")
        assert family.type in ("counter", "gauge", "histogram", "info")


def test_two_segmenters_share_a_registry_by_their_label(
    segmenter: Segmenter, street: NDArray[np.uint8]
) -> None:
    metrics = PrometheusMetrics(segmenter="day", registry=prometheus_client.CollectorRegistry())
    with (
        BatchingSegmenter(segmenter, observer=metrics) as day,
        BatchingSegmenter(segmenter, observer=metrics.named("night")) as night,
    ):
        day(street)
        day(street)
        night(street)
    counts = scraped(metrics)["pedseg_request_duration_seconds_count"]
    assert counts == {labels(segmenter="day"): 2, labels(segmenter="night"): 1}
    with pytest.raises(InputError, match=r"registry: .* use named\(\)"):
        PrometheusMetrics(registry=metrics.registry)
    assert PrometheusMetrics().registry is not PrometheusMetrics().registry


def test_another_artifact_of_a_name_replaces_what_is_said_of_it(segmenter: Segmenter) -> None:
    metrics = PrometheusMetrics()
    for provider in ("CUDAExecutionProvider", "CPUExecutionProvider"):
        metrics.started(segmenter.manifest, provider, "primary")
    (only,) = scraped(metrics)["pedseg_segmenter_info"]
    assert dict(only)["provider"] == "CPUExecutionProvider"


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install 'pedseg\[prometheus\]'"):
        PrometheusMetrics()
