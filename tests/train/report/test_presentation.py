"""Pages and plots in general: escaped, in the colours of the page, with all that was measured."""

from __future__ import annotations

import re
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from pedseg_train.presentation.charts import (
    MOST_POINTS,
    Curve,
    Row,
    box,
    curve_chart,
    number,
    row_chart,
    scale,
    stack,
)
from pedseg_train.presentation.figures import COLORS, INK, svg, tip

EVIL = "<b>$x_1 & more \u4eba"
positive = st.floats(1e-3, 1e7, allow_nan=False)


def axes_of():
    canvas = Canvas()
    FigureCanvasAgg(canvas)
    return canvas.subplots()


def words_of(plot):
    return [text.strip() for text in ElementTree.fromstring(plot).itertext() if text.strip()]


def test_plots_are_sound_xml_in_the_colours_of_the_page():
    def draw(axes):
        (line,) = axes.plot([0, 1], np.array([0, 1]), color=COLORS[0], label=EVIL)
        tip(line, EVIL)
        axes.legend()

    first, second = svg(draw, label="first plot"), svg(draw, label=EVIL)
    for plot in (first, second):
        assert words_of(plot).count(EVIL) == 2
        assert "var(--plot-1)" in plot
        assert "var(--ink)" in plot
        assert not {COLORS[0], INK} & set(re.findall("#[0-9a-f]{6}", plot))
        assert "http" not in plot
    assert ElementTree.fromstring(second).get("aria-label") == EVIL

    def ids(plot):
        return {one.get("id") for one in ElementTree.fromstring(plot).iter() if one.get("id")}

    assert ids(first)
    assert not ids(first) & ids(second)
    assert svg(draw, label="first plot") == first


def test_every_reference_of_a_plot_leads_to_an_id_of_it():
    plot = svg(lambda axes: axes.plot([0, 1], [1, 2], "o"), label="dots")
    used = re.findall(r'(?:href="|url\()#([^")]+)', plot)
    assert used
    assert set(used) == set(re.findall(' id="([^"]+)"', plot))


@settings(max_examples=40, deadline=None)
@given(st.lists(positive, min_size=1, max_size=20), st.booleans())
def test_axes_hold_their_values_with_few_round_ticks(values, log):
    axes = axes_of()
    scale(axes.xaxis, values, log=log)
    low, high = axes.get_xlim()
    assert low <= min(values)
    assert max(values) <= high
    assert axes.get_xscale() == ("log" if log else "linear")
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert len(ticks) <= 12
    assert all(len(number(tick)) <= 9 for tick in ticks)


def test_axes_of_nothing_and_of_zeros_exist():
    for values in ([], [0.0], [float("nan")]):
        for log in (False, True):
            axes = axes_of()
            scale(axes.yaxis, values, log=log)
            assert np.isfinite(axes.get_ylim()).all()
            assert axes.get_ylim()[0] < axes.get_ylim()[1]


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.25"), (1500, "1,500"), (2.5e6, "2.5M"), (0.0005, "0.0005")]
)
def test_ticks_have_no_digits_that_say_nothing(value, text):
    assert number(value) == text


def test_many_samples_are_drawn_thinned_and_with_their_extremes():
    axes = axes_of()
    samples = np.random.default_rng(0).permutation(np.arange(1000.0))
    box(axes, 0.5, samples, color=COLORS[0])
    places = {float(x) for x, _ in axes.patches[0].get_path().vertices}
    assert len(places) == MOST_POINTS
    assert (min(places), max(places)) == (0, 999)
    assert [499.5, 499.5] in [list(line.get_xdata()) for line in axes.lines]  # the median


def test_stacked_amounts_follow_each_other():
    axes = axes_of()
    stack(axes, 0.5, [("load", 2.0), ("first", 3.0)], ["first", "load"])
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 2), (2, 3)]


def test_rows_show_names_as_they_are_and_long_ones_shortened():
    draw = partial(stack, parts=[("ms", 1.0)], names=["ms"])
    rows = [Row(EVIL, "1 ms", draw), Row("long " * 40, "2 ms", draw), Row("a\nb", "", draw)]
    plot = row_chart(rows, label="rows", unit="ms", values=[1.0], reference=(2.0, "eager"))
    words = words_of(plot)
    assert {EVIL, "1 ms", "2 ms", "a b", "ms; dashed line: eager", "ms: 1.0"} <= set(words)
    assert any(word.startswith("long long") and word.endswith("…") for word in words)


def test_a_curve_with_a_fit_is_not_joined():
    points = [(1.0, 2.0, "two"), (2.0, 3.0, "three")]

    def lines(**options):
        return curve_chart([Curve("a", points, **options)], units=("x", "y")).plot.count("<path")

    assert lines(joined=True) == lines(joined=False) + 1
    assert lines(joined=False, fit=[(1, 2), (2, 3)]) == lines(joined=True)


def test_curves_say_what_their_points_are_and_have_a_legend():
    points = [(1.0, 2.0, "two"), (2.0, 3.0, "three")]
    figure = curve_chart(
        [Curve("a", points), Curve(EVIL, points)], units=("x", "y"), dashed="bound",
        reference=lambda left, right: [(left, 1), (right, 1)], title="t", note="n",
    )  # fmt: skip
    assert {"a: two", f"{EVIL}: three", "x", "y"} <= set(words_of(figure.plot))
    assert figure.legend == [("●", 1, "a"), ("■", 2, EVIL), ("╌╌", 0, "bound")]
    assert (figure.title, figure.note) == ("t", "n")
