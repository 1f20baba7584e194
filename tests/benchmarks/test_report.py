from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from pedseg_benchmarks.environment import fingerprint
from pedseg_benchmarks.report import details, markdown, table
from pedseg_benchmarks.results import BenchmarkResult
from pedseg_runtime.errors import InputError


@pytest.fixture
def result(bench, images):
    rows, _, _ = bench.measure(
        [
            bench.contender("eager", 0.25),
            bench.contender("good.onnx", 0.1),
            bench.contender("wrong.onnx", 0.01234, shift=0.5),
        ],
        images,
        warmup=1,
        rounds=5,
    )
    return BenchmarkResult(
        created="2026-01-01T00:00:00+00:00",
        settings={
            "architecture": "tiny",
            "device": "cpu",
            "threads": 2,
            "rounds": 5,
            "warmup": 1,
            "paste": True,
        },
        environment=idle(fingerprint(threads=2)),
        images=[{"name": "a.png", "height": 10, "width": 20}] * 3,
        contenders=rows,
    )


def idle(environment, load=0.1):
    """The fingerprint of a machine with four cores on which nothing else runs."""
    cpu = environment["cpu"] | {"usable_cores": 4, "load_average": [load, 0.1, 0.1]}
    return environment | {"cpu": cpu}


def rendered(result) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table(result))
    return console.file.getvalue()


def line_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if name in line)


@pytest.mark.parametrize("view", [rendered, markdown], ids=["table", "markdown"])
def test_a_good_row_shows_provider_times_ratio_and_parity(result, view):
    line = line_of(view(result), "good.onnx")
    for part in ("fake:good.onnx", "100.0", "2.50 [2.50, 2.50]", "10.00", "passed"):
        assert part in line


@pytest.mark.parametrize("view", [rendered, markdown], ids=["table", "markdown"])
def test_a_row_with_failed_parity_shows_no_speed(result, view):
    line = line_of(view(result), "wrong.onnx")
    assert "failed" in line
    assert "FAILED" in line
    assert "12.3" not in line
    assert "81" not in line


def test_the_details_hold_every_verdict_in_numbers(result):
    caption, good, wrong = details(result)
    assert "5 interleaved rounds (15 calls each)" in caption
    assert good.startswith("good.onnx: parity passed, 3 detections, largest differences: scores")
    assert wrong.startswith("wrong.onnx: parity FAILED: boxes differ by up to 0.5 pixels")
    assert all(f"- {line}" in markdown(result) for line in (caption, good, wrong))
    assert not result.passed


def test_the_document_survives_json(result):
    text = json.dumps(result.to_dict(), allow_nan=False)
    again = BenchmarkResult.from_dict(json.loads(text))
    assert again.to_dict() == json.loads(text)
    assert list(json.loads(text))[:2] == ["schema", "schema_version"]


def test_raw_samples_are_in_the_document(result):
    rows = result.to_dict()["contenders"]
    assert [len(row["samples_ms"]) for row in rows] == [5, 5, 0]
    assert rows[1]["samples_ms"][0] == pytest.approx([100, 100, 100])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "something"}, "pedseg-bench wrote"),
        ({"schema_version": 99}, "upgrade pedseg"),
        ({"schema_version": None}, "pedseg-bench wrote"),
    ],
    ids=["foreign", "newer", "no version"],
)
def test_a_foreign_or_newer_document_is_refused(result, change, message):
    with pytest.raises(InputError, match=message):
        BenchmarkResult.from_dict(result.to_dict() | change)


def test_a_damaged_document_is_refused(result):
    values = result.to_dict()
    del values["contenders"][0]["latency"]
    with pytest.raises(InputError, match="incomplete"):
        BenchmarkResult.from_dict(values)


def test_few_calls_come_with_a_word_on_p99(result):
    assert "p99 of fewer than 100 calls" in markdown(result)


def test_a_busy_machine_is_named(result):
    busy = dataclasses.replace(result, environment=idle(result.environment, load=3.5))
    assert "the machine was busy before the start (load 3.5 on 4 cores)" in details(busy)[1]
    assert not any("busy" in line for line in details(result))
