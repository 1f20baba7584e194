from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedseg_benchmarks.report import html
from pedseg_benchmarks.report.markup import Markup, tag
from pedseg_benchmarks.report.plots.axes import MOST_TICKS, figure, linear, logarithmic
from pedseg_benchmarks.report.plots.surfaces import megapixels
from pedseg_benchmarks.scenario_results import ScenarioResults

EVIL = "<script>alert('x')</script>&\"'"
positive = st.floats(1e-3, 1e7, allow_nan=False)


class Page(HTMLParser):
    """Collects tags, attributes and words, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += [(name, key, value) for key, value in attributes]
        if name != "meta":
            self._open.append(name)

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, text):
        self.words.append(text)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_the_page_needs_nothing_else(full):
    page = Page(html(full))
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not {"src", "href", "style", "onload"} & {key for _, key, _ in page.attributes}
    assert not re.search(r"https?://|@import|url\(", html(full))


def test_every_question_has_its_plot(full):
    page = Page(html(full))
    labels = [value for name, key, value in page.attributes if (name, key) == ("svg", "aria-label")]
    for part in (
        "p99 in ms against arrivals per second",
        "images per second against images per call",
        "p50 in ms against detections",
        "p50 in ms against megapixels of the network's resized input",
        "GFLOP/s, logarithmic against operations per byte",
    ):
        assert any(part in label for label in labels), part
    for heading in ("Times as fast as eager", "Every timed call", "Rate reached", "Stages", "Cold"):
        assert heading in page.text, heading


def test_the_answer_and_the_warnings_come_before_every_table(full):
    text = html(full)
    first = text.index("<table")
    for part in ("street-int8.onnx is the fastest", "was not run", "FAILED", "busy"):
        assert text.index(part) < first


def test_a_quiet_document_says_so_and_has_no_empty_sections(quiet):
    page = Page(html(quiet))
    assert "No warnings" in page.text
    assert "Server" not in page.text
    assert "Roofline" not in page.text


def test_a_wrong_contender_is_in_no_plot(full):
    labels = [value for name, key, value in Page(html(full)).attributes if key == "aria-label"]
    assert any("street.onnx" in label for label in labels)
    assert not any("broken" in label or "fp16" in label for label in labels)


def test_no_speed_stands_in_a_plot_without_its_verdict_and_ap(full):
    labels = [value for name, key, value in Page(html(full)).attributes if key == "aria-label"]
    for label in labels:
        if label.startswith("street-int8.onnx:") and "ms" in label and "passed" in label:
            assert "AP passed · AP 0.8" in label
            return
    raise AssertionError("no label of street-int8.onnx")


def test_words_of_users_are_never_markup(full):
    """Names of files and images, reasons and settings come from outside."""

    def spoilt(value):
        if isinstance(value, str):
            return value + EVIL
        if isinstance(value, list):
            return [spoilt(part) for part in value]
        return (
            {key: spoilt(part) for key, part in value.items()} if isinstance(value, dict) else value
        )

    rows = [
        dataclasses.replace(
            row,
            name=spoilt(row.name),
            provider=spoilt(row.provider),
            judged_by=row.judged_by,
            parity=spoilt(row.parity),
            gate=spoilt(row.gate),
            sha256=spoilt(row.sha256),
        )
        for row in full.contenders
    ]
    named = {
        key: [dataclasses.replace(row, contender=spoilt(row.contender)) for row in value]
        for key, value in (
            (field.name, getattr(full.sections, field.name))
            for field in dataclasses.fields(ScenarioResults)
        )
        if isinstance(value, list)
    }
    changed = dataclasses.replace(
        full,
        created=spoilt(full.created),
        contenders=rows,
        sections=dataclasses.replace(full.sections, **named),
        settings=spoilt(full.settings),
        environment=spoilt(full.environment),
        images=spoilt(full.images),
        not_run=[dataclasses.replace(row, name=EVIL, reason=EVIL) for row in full.not_run],
    )
    page = Page(html(changed))
    assert "script" not in page.tags
    assert page.text.count("alert('x')") > 100


def test_places_stay_within_the_charts(full):
    places = [
        float(value.removesuffix("%"))
        for _, key, value in Page(html(full)).attributes
        if key in ("x", "x1", "x2", "cx", "width") and str(value).endswith("%")
    ]
    assert len(places) > 500
    assert min(places) >= -0.1
    assert max(places) <= 100.1


def test_many_calls_are_drawn_thinned_and_with_their_extremes(document):
    many = document(rounds=200, contenders=("eager", "street.onnx"))
    assert Page(html(many)).tags.count("circle") < 2 * 240 + 20


def test_a_document_without_any_time_is_still_a_page(document):
    page = Page(html(document(contenders=("eager", "broken.onnx"))))
    assert "no speed to report" in page.text


@given(st.lists(positive, min_size=1, max_size=20))
def test_axes_enclose_their_values_with_few_round_ticks(values):
    for axis in (linear(values), logarithmic(values)):
        assert all(-1e-9 <= axis.place(value) <= 1 + 1e-9 for value in values)
        assert all(-1e-9 <= axis.place(tick) <= 1 + 1e-9 for tick in axis.ticks)
        assert list(axis.ticks) == sorted(set(axis.ticks))
        assert len(axis.ticks) <= MOST_TICKS + 1
        assert all(len(figure(tick)) <= 9 for tick in axis.ticks)


@given(st.floats(1e-3, 1e3), st.floats(1.1, 1e3))
def test_equal_ratios_take_equal_room_on_a_logarithmic_axis(low, factor):
    axis = logarithmic([low, low * factor])
    middle = (axis.place(low) + axis.place(low * factor)) / 2
    assert axis.place(low * factor**0.5) == pytest.approx(middle)


def test_axes_of_nothing_and_of_zeros_exist():
    assert linear([]).place(0) == linear([0.0]).place(0) == 0
    assert logarithmic([]).high > logarithmic([]).low > 0


def test_the_resized_input_is_torchvisions():
    """800x1066 for a 375x500 image, the size that stock exports get wrong; padded to 800x1088."""
    settings = {"min_size": 800, "max_size": 1333}
    assert megapixels((375, 500), settings) == pytest.approx(800 * 1088 / 1e6)
    assert megapixels((375, 500), {}) == pytest.approx(375 * 500 / 1e6)


def test_markup_escapes_words_and_attributes_but_not_itself():
    inner = tag("b", "<i>")
    assert tag("p", inner, "&", None, class_='a"<', data_x=None, width=0.1 + 0.2) == Markup(
        '<p class="a&quot;&lt;" width="0.3"><b>&lt;i&gt;</b>&amp;</p>'
    )
