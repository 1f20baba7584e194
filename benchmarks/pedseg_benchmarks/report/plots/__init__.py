"""The plots of a benchmark as SVG within HTML; colours and line widths are in `style.css`.

Own SVG and no plotting library: places are percentages, so that words keep their size on a phone
and on paper, and colours follow the reader's light or dark theme.
"""

from .latency import distributions, ratios
from .limits import roofline, shares
from .sections import cold_start, offline, server, stages
from .surfaces import by_detections, by_megapixels

__all__ = [
    "by_detections",
    "by_megapixels",
    "cold_start",
    "distributions",
    "offline",
    "ratios",
    "roofline",
    "server",
    "shares",
    "stages",
]
