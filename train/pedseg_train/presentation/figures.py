"""A plot as SVG that stands in a page and takes on the page's colours, light, dark or printed.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart. What is drawn in
one of these constants is of the variable of the same role in `templates/style.css`.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

Draw = Callable[[Axes], object]

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#6b7280",
)  # fmt: skip
INK, FAINT, LINE, PAPER = "#1f2328", "#5b636d", "#d8dce1", "#ffffff"
SHAPES = ("o", "s", "^", "D", "v")  # neither colour nor shape alone tells curves apart
SIGNS = ("●", "■", "▲", "◆", "▼")  # the same in a legend
SIZE = (4.2, 2.8)  # inches; on a phone, words are then as large as drawn

_VARIABLES = {
    **{color: f"var(--plot-{place})" for place, color in enumerate(COLORS, start=1)},
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, found and scaled
    "text.parse_math": False,  # a name may hold dollars
    "text.color": INK,
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 8,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.5,
    "legend.columnspacing": 1.2,
    "legend.frameon": False,
    "font.size": 9,
}
_TIP = "tip:"


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot and the words around it.

    Attributes:
        plot: an `<svg>` element.
        title: what it shows.
        note: what a reader needs to read it right.
        legend: sign, number of the colour (0 is ink) and name of everything in it.
    """

    plot: Markup
    title: str = ""
    note: str = ""
    legend: Sequence[tuple[str, int, str]] = ()


def svg(draw: Draw, *, label: str, size: tuple[float, float] = SIZE) -> Markup:
    """What `draw` draws, as an `<svg>` element without any reference to the outside.

    Args:
        draw: draws on the axes it is given.
        label: what a screen reader calls the plot.
        size: width and height in inches.
    """
    stream = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        # The reader's fonts draw the text; matplotlib's own only measures it.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        canvas = Canvas(figsize=size, layout="constrained", facecolor="none")
        FigureCanvasSVG(canvas)
        draw(canvas.subplots())
        canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return Markup(_inline(stream.getvalue(), label))


def save_png(path: Path, draws: Sequence[Draw], *, size: tuple[float, float]) -> None:
    """Write plots in two columns, in the same style, as an image.

    Args:
        path: of the PNG.
        draws: an even number of plots, row by row.
        size: width and height of the whole in inches.
    """
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=size, layout="constrained")
        FigureCanvasAgg(canvas)  # draws without a display and without pyplot's global state
        for draw, axes in zip(draws, canvas.subplots(len(draws) // 2, 2).flat, strict=True):
            draw(axes)
        canvas.savefig(path, format="png")


def tip(artist: Artist, text: str) -> None:
    """Let `artist` say `text` when pointed at."""
    artist.set_gid(_TIP + text)


def color_of(place: int) -> str:
    """The colour of the `place`-th thing, from 0; they repeat."""
    return COLORS[place % len(COLORS)]


def shape_legend(names: Sequence[str], *, dashed: str = "") -> list[tuple[str, int, str]]:
    """The legend of curves with colours and shapes by their order, and of a dashed line."""
    entries = [
        (SIGNS[place % len(SIGNS)], place % len(COLORS) + 1, name)
        for place, name in enumerate(names)
    ]
    return [*entries, ("╌╌", 0, dashed)] if dashed else entries


def _inline(document: str, label: str) -> str:
    """The document's element, its ids distinct in the page, its colours the page's."""
    svg = document[document.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    svg = re.sub(rf'<g id="{_TIP}([^"]*)">', r"<g><title>\1</title>", svg)
    svg = re.sub(r'\b(d|x|y|transform)="[^"]*"', _rounded, svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    prefix = hashlib.sha256((label + svg).encode()).hexdigest()[:8]
    svg = re.sub(
        r' id="([^"]*)"',
        lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "",
        svg,
    )
    svg = re.sub(r'(href="|url\()#', rf"\g<1>#{prefix}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _rounded(attribute: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])
