from __future__ import annotations

import dataclasses
import itertools
import re
from html.parser import HTMLParser

import pytest

from pedseg_benchmarks.report import html, plots, surface_plots
from pedseg_benchmarks.report.page import suite_html
from pedseg_benchmarks.report.surface_plots import megapixels
from pedseg_benchmarks.report.tables import Grid
from pedseg_benchmarks.scenario_results import ScenarioResults

EVIL = "<script>alert('x')</script>&\"'"


class Page(HTMLParser):
    """Collects tags, attributes and words, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.drawn: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += [(name, key, value) for key, value in attributes]
        if name != "meta":
            self._open.append(name)

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        self._open.pop()

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, text):
        self.words.append(text)
        if "svg" in self._open and text.strip():
            self.drawn.append(text)

    def values(self, name, key):
        return [value for tag, k, value in self.attributes if (tag, k) == (name, key)]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def page_of():
    """A page, drawn once for a document."""
    pages: dict[str, Page] = {}

    def page_of(result):
        key = str(result.to_dict())
        if key not in pages:
            pages[key] = Page(html(result))
        return pages[key]

    return page_of


def test_the_page_needs_nothing_else(full, page_of):
    page = page_of(full)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    keys = {key for _, key, _ in page.attributes}
    assert not {"src", "onload", "xlink:href"} & keys
    assert not re.search(r"https?://|@import", page.source)
    references = [*page.values("use", "href"), *re.findall(r"url\(([^)]*)\)", page.source)]
    assert references
    assert {reference[1:] for reference in references} <= {
        value for _, key, value in page.attributes if key == "id"
    }


def test_the_page_is_the_same_each_time(quiet, page_of):
    assert page_of(quiet).source == html(quiet)


def test_every_question_has_its_plot(full, page_of):
    page = page_of(full)
    labels = page.values("svg", "aria-label")
    for part in (
        "Times as fast as eager",
        "Every timed call",
        "p99 in ms against arrivals per second",
        "images per second against images per call",
        "p50 in ms against detections",
        "p50 in ms against megapixels of the network's resized input",
        "Stages",
        "Cold start",
        "Rate reached",
        "GFLOP/s, logarithmic against operations per byte",
    ):
        assert sum(part in label for label in labels) == 1, part
    assert len(labels) == page.tags.count("svg") == 10


def test_every_point_is_in_its_plot_and_says_what_it_is(full, page_of):
    drawn, sections = page_of(full).drawn, full.sections
    for row in sections.offline:
        rate = f"{row.images_per_second:.2f}"
        assert f"{row.contender}: batch {row.batch}, {rate} images/s" in drawn
    for point in sections.surface:
        where = f"{point.contender}: {point.height} x {point.width}, {point.detections} detections"
        assert any(text.startswith(where) for text in drawn)
    held = [text for text in drawn if "per second, p99" in text]
    assert 4 <= len(held) < len(sections.server)  # curves end beyond three times the bound
    for row in sections.stages:
        assert any(text.startswith(f"{row.stage}: ") for text in drawn)


def test_points_that_broke_the_bound_are_hollow(full, monkeypatch):
    curves = []

    def chart(found, *, dashed, **_):
        curves.extend(found)
        return dashed

    monkeypatch.setattr(plots, "curve_chart", chart)
    assert plots.server(full.sections) == "bound of 5000 ms"
    assert len(curves) == 4
    for curve in curves:
        rows = sorted(
            (row for row in full.sections.server if row.contender == curve.name),
            key=lambda row: row.rate,
        )
        for place, (rate, p99, _) in enumerate(curve.points):
            assert (place in curve.hollow) == (not rows[place].holds)
            assert (rate, p99) == (rows[place].rate, min(rows[place].p99, 15000))


def test_without_a_resized_size_no_cost_model_is_drawn(full):
    settings = {key: value for key, value in full.settings.items() if key != "min_size"}
    plain = dataclasses.replace(full, settings=settings)
    figure = surface_plots.by_megapixels(plain)
    assert "megapixels of the image" in figure.plot
    assert figure.plot.count("<path") < surface_plots.by_megapixels(full).plot.count("<path") + 4


def test_the_answer_and_the_warnings_come_before_every_table(full, page_of):
    text = page_of(full).source
    first = text.index("<table")
    for part in ("street-int8.onnx is the fastest", "was not run", "FAILED", "busy"):
        assert text.index(part) < first


def test_a_quiet_document_says_so_and_has_no_empty_sections(quiet, page_of):
    page = page_of(quiet)
    assert "No warnings" in page.text
    assert "Server" not in page.text
    assert "Roofline" not in page.text


def test_a_wrong_contender_is_in_no_plot(full, page_of):
    page = page_of(full)
    drawn = " ".join([*page.drawn, *page.values("svg", "aria-label")])
    assert "street.onnx" in drawn
    assert "broken" not in drawn
    assert "fp16" not in drawn


def test_no_speed_stands_in_a_plot_without_its_verdict_and_ap(full, page_of):
    drawn = page_of(full).drawn
    remarks = [text for name, text in itertools.pairwise(drawn) if name == "street-int8.onnx"]
    row = next(row for row in full.contenders if row.name == "street-int8.onnx")
    assert f"{row.latency.p50:.1f} ms · AP passed · AP 0.812 / 0.742" in remarks
    assert any("[" in text and "AP passed · AP 0.812 / 0.742" in text for text in remarks)


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


def test_a_suite_has_all_its_parts_on_one_page(full, document):
    steps = Grid("Steps", ("step", "why"), [("train", EVIL)], words=2)
    parts = [("all", full), ("small", document(contenders=("eager", "street.onnx")))]
    page = Page(suite_html("a suite", EVIL, steps=steps, commands=[("a", EVIL)], parts=parts))
    ids = [value for _, key, value in page.attributes if key == "id"]
    assert len(set(ids)) == len(ids)
    assert [f"#{name}" for name, _ in parts] == page.values("a", "href")
    assert {"all", "small"} <= set(ids)
    assert "script" not in page.tags
    assert page.text.count("alert('x')") == 3
    assert page.tags.count("svg") == 12


def test_a_document_without_any_time_is_still_a_page(document):
    page = Page(html(document(contenders=("eager", "broken.onnx"))))
    assert "no speed to report" in page.text


def test_the_resized_input_is_torchvisions():
    """800x1066 for a 375x500 image, the size that stock exports get wrong; padded to 800x1088."""
    settings = {"min_size": 800, "max_size": 1333}
    assert megapixels((375, 500), settings) == pytest.approx(800 * 1088 / 1e6)
    assert megapixels((375, 500), {}) == pytest.approx(375 * 500 / 1e6)
