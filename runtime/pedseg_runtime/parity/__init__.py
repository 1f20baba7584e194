"""Parity as a value: do two lists of detections agree, and if not, why?

    report = compare(reference, candidate, names=file_names)
    if not report:
        print(report.summary())

Numpy only, so that the exporter, the benchmark, the tests and a service's shadow check share it.
"""

from __future__ import annotations

from .comparison import compare
from .flip_analysis import Rerun
from .report import (
    Counts,
    FieldStatistics,
    LowPaste,
    ParityReport,
    PastedMasks,
    Settings,
    Unmatched,
)
from .tolerances import FP32, TOLERANCES, Tolerances

__all__ = [
    "FP32",
    "TOLERANCES",
    "Counts",
    "FieldStatistics",
    "LowPaste",
    "ParityReport",
    "PastedMasks",
    "Rerun",
    "Settings",
    "Tolerances",
    "Unmatched",
    "compare",
]
