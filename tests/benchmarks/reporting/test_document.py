from __future__ import annotations

import json

import pytest

from pedseg_benchmarks.results import BenchmarkResult
from pedseg_runtime.errors import InputError


def test_the_document_survives_json(full):
    text = json.dumps(full.to_dict(), allow_nan=False)
    again = BenchmarkResult.from_dict(json.loads(text))
    assert again.to_dict() == json.loads(text)
    assert list(json.loads(text))[:2] == ["schema", "schema_version"]


def test_raw_samples_are_in_the_document_of_those_who_passed(full):
    rows = full.to_dict()["contenders"]
    assert {(len(row["samples_ms"]), row["passed"]) for row in rows} == {(20, True), (0, False)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "something"}, "pedseg-bench wrote"),
        ({"schema_version": 99}, "upgrade pedseg"),
        ({"schema_version": 1}, "measure again"),
        ({"schema_version": None}, "pedseg-bench wrote"),
    ],
    ids=["foreign", "newer", "older", "no version"],
)
def test_a_foreign_or_other_document_is_refused(quiet, change, message):
    with pytest.raises(InputError, match=message):
        BenchmarkResult.from_dict(quiet.to_dict() | change)


def test_a_damaged_document_is_refused(quiet):
    values = quiet.to_dict()
    del values["contenders"][0]["latency"]
    with pytest.raises(InputError, match="incomplete"):
        BenchmarkResult.from_dict(values)
