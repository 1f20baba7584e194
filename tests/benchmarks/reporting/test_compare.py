from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pedseg_benchmarks.commands.compare import main
from pedseg_benchmarks.comparison import compare, differences
from pedseg_benchmarks.results import NotRun
from pedseg_benchmarks.statistics import change_between
from pedseg_runtime.errors import InputError


def verdicts(old, new, **options):
    return {row.contender: row.verdict for row in compare(old, new, **options).rows}


def failed(row):
    parity = {"passed": False, "reason": "boxes differ by up to 0.5 pixels"}
    return dataclasses.replace(
        row, passed=False, latency=None, speedup=None, samples_ms=[], parity=parity, gate=None
    )


def changed(result, name, change):
    rows = [change(row) if row.name == name else row for row in result.contenders]
    return dataclasses.replace(result, contenders=rows)


def times_of(generator, factor=1.0, *, rounds=20, images=6, noise=0.04):
    """Eager's and a contender's times in one run on a machine of its own speed.

    Log-normal noise, a random walk that hits both alike, three outliers in a hundred calls.
    """
    walk = np.exp(np.cumsum(generator.normal(0, 0.01, rounds))) * generator.uniform(0.95, 1.05)

    def times(ms):
        shape = (rounds, images)
        noisy = ms * np.exp(generator.normal(0, noise, shape)) * walk[:, None]
        slow = generator.uniform(1.3, 3, shape)
        return noisy * np.where(generator.random(shape) < 0.03, slow, 1)

    return times(2800.0), times(1640.0 * factor)


def simulated(factor, trials, seed):
    """Changes relative to eager of so many pairs of runs."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(trials):
        (eager, own), (eager_now, now) = times_of(generator), times_of(generator, factor)
        found.append(change_between(own / eager, now / eager_now, resamples=300))
    return found


def test_noise_is_no_regression_and_the_intervals_hold_what_they_promise():
    found = simulated(1.0, trials=40, seed=1)
    assert not any(change.low > 1.05 for change in found)
    assert sum(change.low <= 1 <= change.high for change in found) >= 34


def test_ten_percent_are_found():
    found = simulated(1.1, trials=40, seed=2)
    assert sum(change.low > 1.05 for change in found) >= 36


@given(st.floats(0.25, 4), st.integers(1, 8), st.integers(1, 8))
def test_a_constant_factor_is_found_exactly(factor, rounds, more_rounds):
    levels = np.array([[10.0, 300.0]])
    old, new = levels.repeat(rounds, axis=0), levels.repeat(more_rounds, axis=0) * factor
    found = change_between(old, new, resamples=20)
    assert [found.low, found.ratio, found.high] == pytest.approx([factor] * 3)


def test_a_large_image_does_not_outvote_a_small_one():
    old, new = np.array([[10.0, 1000.0]] * 5), np.array([[20.0, 1000.0]] * 5)
    assert change_between(old, new, resamples=20).ratio == pytest.approx(2**0.5)


def test_the_machine_is_taken_out_by_default_and_counts_if_asked(document):
    slower_machine = {row.name: 1.3 for row in document().contenders}
    old, new = document(seed=1), document(seed=2, slower=slower_machine)
    found = compare(old, new)
    assert found.judged_by == "relative"
    assert found.passed
    assert verdicts(old, new)["eager"] == "the ruler"
    assert not compare(old, new, judge_by="absolute").passed
    assert verdicts(old, new, judge_by="absolute")["eager"] == "slower"


def test_without_eager_the_times_themselves_are_judged(document):
    names = ("street.onnx", "street-int8.onnx")
    old = document(contenders=("eager", *names))
    new = document(seed=3, slower={"street.onnx": 1.3}, contenders=("eager", *names))
    old, new = (
        dataclasses.replace(result, contenders=result.contenders[1:]) for result in (old, new)
    )
    found = compare(old, new)
    assert found.judged_by == "absolute"
    assert [row.verdict == "slower" for row in found.rows] == [True, False]
    with pytest.raises(InputError, match="--judge-by absolute"):
        compare(old, new, judge_by="relative")


def test_slower_faster_and_neither_are_told_apart(document):
    new = document(
        seed=2, slower={"street.onnx": 1.2, "street-openvino": 0.8, "street-int8.onnx": 1.001}
    )
    found = verdicts(document(seed=1), new)
    assert found["street.onnx"] == "slower"
    assert found["street-openvino"] == "faster"
    assert found["street-int8.onnx"] == "no difference shown"


def test_a_change_within_the_threshold_is_said_to_be_one(document):
    new = document(seed=2, slower={"street.onnx": 1.2})
    found = compare(document(seed=1), new, threshold=0.5)
    assert found.passed
    assert {row.verdict for row in found.rows if row.contender == "street.onnx"} == {
        "slower, not surely by 50 %"
    }


def test_a_newly_failed_contender_is_a_regression_and_one_that_failed_before_is_not(document):
    found = compare(document(), changed(document(), "street.onnx", failed))
    rows = {row.contender: row for row in found.rows}
    assert rows["street.onnx"].regression
    assert rows["street.onnx"].reason == "boxes differ by up to 0.5 pixels"
    assert rows["broken.onnx"].verdict == "failed in both"
    assert not found.passed
    back = compare(changed(document(), "street.onnx", failed), document())
    assert back.passed
    assert {row.contender: row.verdict for row in back.rows}["street.onnx"] == "passes now"


def test_missing_and_new_contenders_are_named_with_the_reason(document):
    old, new = document(), document(contenders=("eager", "street.onnx"))
    new = dataclasses.replace(new, not_run=[NotRun("street-openvino", "not installed")])
    rows = {row.contender: row for row in compare(old, new).rows}
    assert rows["street-openvino"].verdict == rows["stock-onnx"].verdict == "missing"
    assert rows["street-openvino"].reason == "not installed"
    assert {row.contender: row.verdict for row in compare(new, old).rows}["stock-onnx"] == "new"


def test_nothing_in_common_is_no_pass(document):
    renamed = [dataclasses.replace(row, name=f"other {row.name}") for row in document().contenders]
    with pytest.raises(InputError, match="name them alike"):
        compare(document(), dataclasses.replace(document(), contenders=renamed))


@pytest.mark.parametrize(
    ("where", "value", "what"),
    [
        (("settings", "threads"), 8, "threads: 2 -> 8"),
        (("settings", "paste"), False, "paste: True -> False"),
        (("settings", "min_size"), 400, "min_size: 800 -> 400"),
        (("environment", "cpu", "model"), "Z80", "cpu.model: AMD EPYC 9754 -> Z80"),
        (("environment", "tf32", "torch_cudnn"), True, "tf32.torch_cudnn: False -> True"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_another_machine_or_task_is_refused_unless_it_is_wanted(document, where, value, what):
    new = document(seed=1)
    spot = getattr(new, where[0])
    for name in where[1:-1]:
        spot = spot[name]
    spot[where[-1]] = value
    with pytest.raises(InputError, match="--allow-mismatch") as refusal:
        compare(document(), new)
    assert what in str(refusal.value)
    assert compare(document(), new, allow_mismatch=True).differences[0].decisive


def test_other_images_are_refused_and_compared_as_a_whole_if_wanted(document):
    new = document(seed=1)
    rows = [
        dataclasses.replace(row, samples_ms=[samples[:-1] for samples in row.samples_ms])
        for row in new.contenders
    ]
    new = dataclasses.replace(new, contenders=rows, images=new.images[:-1])
    with pytest.raises(InputError, match=r"images: f\.png 397x492 -> nothing"):
        compare(document(), new)
    # Without its largest image a run looks a little faster, which is why it is refused.
    assert compare(document(), new, allow_mismatch=True, threshold=0.2).passed


def test_versions_and_files_are_named_and_no_obstacle(document):
    new = document(seed=1)
    new.environment["versions"]["onnxruntime"] = "9.9"
    new.environment["cpu"]["load_average"] = [3.0, 3.0, 3.0]
    new.environment["cpu"]["busy_cores"] = 1.5
    new = changed(new, "street.onnx", lambda row: dataclasses.replace(row, sha256="f" * 64))
    found = [(difference.what, difference.decisive) for difference in differences(document(), new)]
    assert found == [("versions.onnxruntime", False), ("file of street.onnx", False)]


def test_runs_of_different_length_can_be_compared(document):
    assert compare(document(rounds=20), document(seed=1, rounds=12)).passed


def test_too_few_rounds_are_no_ground_for_a_verdict(document):
    """The bootstrap interval of a single round has no width at all."""
    found = compare(document(), document(seed=1, rounds=3, slower={"street.onnx": 1.5}))
    assert found.passed
    assert {row.verdict for row in found.rows if row.contender == "street.onnx"} == {
        "fewer than 10 rounds, no verdict"
    }


def test_a_gpu_that_does_nothing_is_no_difference(document):
    new = document(seed=1)
    new.environment["gpu"] = {"name": "H100"}
    assert differences(document(), new) == []


@pytest.fixture
def run(tmp_path):
    def run(old, new, *arguments):
        for name, result in (("old", old), ("new", new)):
            text = result if isinstance(result, str) else json.dumps(result.to_dict())
            (tmp_path / f"{name}.json").write_text(text)
        files = [str(tmp_path / "old.json"), str(tmp_path / "new.json")]
        return CliRunner().invoke(main, [*files, *map(str, arguments)])

    return run


def test_a_regression_stops_a_pipeline_with_all_reports(run, document, tmp_path):
    page = tmp_path / "page.md"
    outcome = run(document(), document(seed=1, slower={"street.onnx": 1.2}), "--markdown", page)
    assert outcome.exit_code == 1
    assert "Worse than before: street.onnx (1.2" in outcome.stdout
    assert "the machine: eager takes" in outcome.stdout
    assert "pedseg-bench profile" in outcome.stderr
    assert "| street.onnx | slower | 1.2" in page.read_text()


def test_no_regression_is_exit_code_0_and_json_for_machines(run, document):
    outcome = run(document(), document(seed=1), "--json", "--threshold", "0.05")
    assert outcome.exit_code == 0
    values = json.loads(outcome.stdout)
    assert (values["schema"], values["passed"], values["threshold"]) == (
        "pedseg-comparison",
        True,
        0.05,
    )
    assert {"contender", "verdict", "relative", "absolute"} <= set(values["rows"][1])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "\x00"], ids=["empty", "list", "no schema", "zero"]
)
def test_what_is_no_benchmark_is_one_line(run, document, text):
    outcome = run(document(), text)
    assert outcome.exit_code == 1
    assert "new.json: " in outcome.stderr
    assert "Traceback" not in outcome.output


@pytest.mark.parametrize("threshold", ["5", "-1%", "five", "nan"])
def test_a_threshold_that_could_be_misread_is_a_usage_error(run, document, threshold):
    outcome = run(document(), document(), "--threshold", threshold)
    assert outcome.exit_code == 2
    assert "5% or 0.05" in outcome.stderr


def test_another_torch_makes_eager_a_doubtful_ruler(run, document):
    new = document(seed=1)
    new.environment["versions"]["torch"] = "3.0"
    assert "eager itself may have changed" in run(document(), new).stdout
