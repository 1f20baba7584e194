"""What the terminal and the Markdown document say."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console

from pedseg_benchmarks.report import details, markdown, sections, table
from pedseg_benchmarks.report.wording import headline, warnings


def rendered(result, width=200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table(result))
    return console.file.getvalue()


def line_of(text: str, name: str) -> str:
    """The row of the main table that starts with `name`."""
    return next(line for line in text.splitlines() if line.lstrip("| ").startswith(name))


def with_row(result, which, **changes):
    rows = [
        dataclasses.replace(row, **changes) if row.name == which else row
        for row in result.contenders
    ]
    return dataclasses.replace(result, contenders=rows)


@pytest.mark.parametrize("view", [rendered, markdown], ids=["table", "markdown"])
def test_a_good_row_shows_verdict_provider_times_ratio_and_ap(full, view):
    row = next(row for row in full.contenders if row.name == "street.onnx")
    line = line_of(view(full), "street.onnx fp32")
    ratio = f"{row.speedup.median:.2f} [{row.speedup.low:.2f}, {row.speedup.high:.2f}]"
    for part in ("parity passed", "CPU by onnxruntime", ratio, f"{row.accuracy['bbox']:.3f} / "):
        assert part in line


@pytest.mark.parametrize("view", [rendered, markdown], ids=["table", "markdown"])
@pytest.mark.parametrize(
    ("name", "verdict"), [("broken.onnx", "parity FAILED"), ("street-fp16.onnx", "AP FAILED")]
)
def test_a_wrong_contender_shows_no_speed(full, view, name, verdict):
    line = line_of(view(full), name)
    assert verdict in line
    assert "failed" in line
    figures = re.findall(r"\d+\.?\d*", line.replace(name, "").replace("fp32", ""))
    assert figures == ["0.811" if name == "broken.onnx" else "0.810", "0.742", "20"]


def test_the_verdict_is_seen_in_the_narrowest_terminal(full):
    """rich drops what does not fit from the right, where the verdict once stood."""
    lines = rendered(full, width=40).splitlines()
    assert sum("FAILED" in line for line in lines) == 2


def test_the_headline_names_the_fastest_and_the_fastest_that_agrees(full):
    text = headline(full)
    assert text.startswith("street-int8.onnx is the fastest contender whose answers are right: 4.")
    assert "95 % interval 4." in text
    assert "street-openvino fp32 is the fastest: 2.0" in text


def test_a_fast_contender_with_wrong_answers_is_no_headline(full):
    assert "broken" not in headline(full)


def test_a_document_without_busy_cores_is_judged_by_its_load(document):
    old = document()
    del old.environment["cpu"]["busy_cores"]
    assert not any("busy" in line for line in warnings(old))
    old.environment["cpu"]["load_average"] = [3.5, 0.1, 0.1]
    assert any("busy before the start (3.5 of 4 cores)" in line for line in warnings(old))


def test_a_benchmark_that_was_ended_early_says_so(document):
    early = document()
    assert not any("ended before" in line for line in warnings(early))
    early.settings["interim"] = True
    assert "ended before it was finished" in warnings(early)[0]


def test_no_difference_is_no_headline(document):
    slow = document(slower={"street.onnx": 1.75}, contenders=("eager", "street.onnx"))
    assert headline(slow).startswith("No contender was shown to be faster than eager")


def test_eager_alone_is_no_headline(document):
    assert "no speed to report" in headline(document(contenders=("eager", "broken.onnx")))


@pytest.mark.parametrize(
    "part",
    [
        "the machine was busy before the start (3.5 of 4 cores)",
        "eager grew 8 % slower",
        "never settled for street.torchscript",
        "street-fp16.onnx: AP FAILS: mask AP lost 2.10 points",
        "broken.onnx: parity FAILED: boxes differ by up to 0.5 pixels",
        "tensorrt was not run: expected libnvinfer.so.10",
    ],
)
def test_every_warning_is_said_in_words(full, part):
    assert any(part in line for line in warnings(full))
    assert part in " ".join(details(full))
    assert part.replace("_", "\\_") in markdown(full)


def test_a_quiet_machine_and_right_answers_are_no_warning(quiet):
    assert warnings(quiet) == []


def test_agreement_is_judged_in_its_own_words(quiet):
    reason = "19 of 20 of eager's detections were found again (at least 90 %)"
    agreed = with_row(quiet, "street-int8.onnx", judged_by="agreement", gate=None, reason=reason)
    assert "agreement passed" in line_of(rendered(agreed), "street-int8")
    assert f"street-int8.onnx: agreement passed: {reason}" in details(agreed)


def test_the_details_hold_every_verdict_in_numbers(full):
    text = "\n".join(details(full))
    assert "20 interleaved rounds (120 calls each)" in text
    assert "street.onnx: parity passed, 41 detections, largest differences: scores 2.0e-05" in text
    assert "street-int8.onnx: AP passes: box AP lost 0.15 points" in text


def test_few_calls_come_with_a_word_on_p99(document):
    few = document(rounds=5, contenders=("eager", "street.onnx"))
    assert "p99 of fewer than 100 calls" in markdown(few)
    assert "intervals of 5 rounds promise more than they hold" in markdown(few)
    assert "p99 of fewer than 100 calls" not in markdown(document())


def test_sections_are_tables_and_empty_ones_are_left_out(full, quiet):
    names = [view.title for view in sections(full)]
    for part in ("Server", "Offline", "Cost model", "Stages", "Cold start", "limit", "nodes"):
        assert any(part in name for name in names), part
        assert f"## {next(name for name in names if part in name)}" in markdown(full)
    assert not any("Server" in view.title for view in sections(quiet))


def test_the_highest_rate_stops_at_the_first_that_broke_the_bound(full):
    """A higher rate that holds by luck is not what a service can be promised."""
    rows = [
        dataclasses.replace(row, holds=row.rate in (0.2, 0.9))
        for row in full.sections.server
        if row.contender == "eager"
    ]
    changed = dataclasses.replace(full, sections=dataclasses.replace(full.sections, server=rows))
    assert "eager held 0.20 per second" in markdown(changed)


def test_names_cannot_break_the_markdown(quiet):
    evil = with_row(quiet, "street.onnx", name="a|b`<img src=x>`[x](http://y)\n# z")
    row = line_of(markdown(evil), "a\\|b")
    assert "a\\|b\\`\\<img src=x\\>\\`[x\\](http://y) \\# z" in row
    assert len(re.findall(r"(?<!\\)\|", row)) == len(
        re.findall(r"(?<!\\)\|", line_of(markdown(evil), "contender"))
    )
