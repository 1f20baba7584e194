"""A plot as SVG that stands in a page and takes on the page's colours, light or dark."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from .plots import COLORS, INK, Draw

SIZE = (4.8, 3.1)  # inches
# What matplotlib draws in -> what the page's style sheet names.
_VARIABLES = {color: f"var(--plot-{place})" for place, color in enumerate(COLORS, start=1)}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, found and scaled
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "font.size": 9,
}


def svg_of(draw: Draw, *, name: str, size: tuple[float, float] = SIZE) -> str:
    """What `draw` draws, as an `<svg>` element without any reference to the outside.

    Args:
        draw: draws on the axes it is given.
        name: distinct in the page; also what a screen reader calls the plot.
        size: width and height in inches.
    """
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), name)


def _inline(document: str, name: str) -> str:
    """The document's element, its ids distinct in the page, its colours the page's."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    prefix = re.sub(r"\W+", "-", name)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{prefix}-", svg)
    svg = svg.replace(INK, "currentColor")
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1).strip()
