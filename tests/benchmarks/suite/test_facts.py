from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from pedseg_benchmarks.suite import facts
from pedseg_benchmarks.suite.facts import Laboratory, collect, judge_top_k
from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import InputError

LOWEST = float(np.finfo(np.float32).min)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(facts, "CALLS", 2)
    monkeypatch.setattr(facts, "SMALLER_ON_CPU", 20)


def test_every_fact_of_the_cpu_is_found_and_saved(tmp_path):
    outcome = CliRunner().invoke(facts.main, [str(tmp_path / "facts.json")])
    assert outcome.exit_code == 0, outcome.output
    found = json.loads((tmp_path / "facts.json").read_text())["findings"]
    by_fact = {one["fact"] for one in found}
    assert len(by_fact) == 5
    top_k = [one["result"] for one in found if one["fact"].startswith("TopK")]
    assert top_k == ["right"] * 6
    assert all(one["result"].startswith("right") for one in found if one["fact"] == "no rows")
    timed = [one for one in found if one["milliseconds"] is not None]
    assert all(one["milliseconds"] > 0 for one in timed)
    assert any("TFLOP/s" in one["result"] for one in timed)


def test_findings_so_far_are_saved_before_the_next_fact(monkeypatch):
    def broken(laboratory):
        raise RuntimeError("out of memory\nand more")
        yield

    first = next(fact for fact in facts.FACTS if fact is facts.empty_inputs)
    monkeypatch.setattr(facts, "FACTS", (broken, first))
    sizes = []
    findings = collect("cpu", lambda so_far: sizes.append(len(so_far)))
    assert sizes == list(range(1, len(findings) + 1))
    assert findings[0].result == "fails: RuntimeError: out of memory"


@pytest.mark.parametrize(
    ("values", "indices", "expected"),
    [
        ([1, 0.5, -np.inf], [0, 1, 2], "right"),
        ([1, 0.5, LOWEST], [0, 1, 2**31], "1 indices out of range, e.g. 2147483648; padding comes"),
        ([1, 0.5, -np.inf], [0, 1, 2**31], "1 indices out of range, e.g. 2147483648"),
        ([1, 0.4, -np.inf], [0, 1, 2], "finite values wrong; values and indices do not"),
        ([1, 0.5, -np.inf], [0, 1, 1], "values and indices do not belong together; indices twice"),
    ],
)
def test_what_cuda_is_known_to_make_of_infinite_padding_is_told(values, indices, expected):
    given = np.array([[1, 0.5, -np.inf, -np.inf]], np.float32)
    found = np.array([values], np.float32)
    assert judge_top_k(given, found, np.array([indices]), 2).startswith(expected)


def test_a_session_that_falls_back_to_the_cpu_is_a_finding(monkeypatch):
    laboratory = Laboratory(parse_device("cpu"))
    monkeypatch.setattr(laboratory, "_device", parse_device("cuda"))
    with pytest.raises(RuntimeError, match="CUDAExecutionProvider did not start"):
        laboratory.session(facts.graphs.top_k())


def test_other_devices_are_refused():
    with pytest.raises(InputError, match="expected cpu, cuda"):
        collect("openvino", lambda _findings: None)
