"""How the values of an activation spread, and the range of them that eight bits shall span."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from pedseg_runtime.errors import ExportError

METHODS = ("percentile", "minmax", "entropy")
BINS = 4096
ENTROPY_BINS = 512  # the search takes time with the square of them
ENTROPY_LEVELS = 128
PERCENTILE = 99.999

Range = tuple[float, float]


class Spread:
    """A histogram of one activation that never needs more memory.

    It spans -reach..reach in `BINS` bins. A value beyond doubles the reach: pairs of bins are
    merged, so counts stay exact, which a histogram with new edges could not promise.

    Attributes:
        lowest, highest: the extremes.
        rows: the length of the first axis, over all runs.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.reach = 0.0
        self.lowest, self.highest = math.inf, -math.inf
        self.rows = 0

    def add(self, sample: NDArray[np.float32], *, lowest: float, highest: float, rows: int) -> None:
        """Count what one run showed of the activation.

        Args:
            sample: some of its values, [S].
            lowest: of all its values.
            highest: likewise.
            rows: the length of its first axis.

        Raises:
            ExportError: a value is not finite.
        """
        if not np.isfinite([lowest, highest]).all() or not np.isfinite(sample).all():
            raise ExportError(
                "int8: expected finite activations, found others on a calibration image; check "
                "the checkpoint with pedseg-eval"
            )
        self.rows += rows
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self._widen(max(-lowest, highest))
        scale = BINS / 2 / (self.reach or 1.0)
        index = np.clip(sample * scale + BINS / 2, 0, BINS - 1).astype(np.int64)
        self.counts += np.bincount(index, minlength=BINS)

    def histogram(self, bins: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Counts [bins] and edges [bins + 1]; `bins` divides `BINS`."""
        reach = self.reach or 1.0
        edges = np.linspace(-reach, reach, bins + 1, dtype=np.float32)
        return self.counts.reshape(bins, -1).sum(axis=1), edges

    def _widen(self, needed: float) -> None:
        """Double the reach until `needed` is within."""
        if self.reach == 0.0:
            self.reach = needed  # what was counted so far was 0, which stays in its bin
        while self.reach < needed:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, BINS // 4)
            self.reach *= 2


def choose_ranges(spreads: Mapping[str, Spread], method: str) -> dict[str, Range]:
    """The range of each activation that eight bits shall span, by onnxruntime's rules.

    `percentile` leaves out the most extreme 0.001 %, `minmax` nothing. `entropy` looks for the
    range with the least Kullback-Leibler divergence; it clips more. Points of AP against float32,
    MobileNetV2 on 60 photographs, boxes and masks: percentile -0.2 and +0.3, minmax +0.9 and -0.4,
    entropy +0.2 and -0.8; a point up or down is noise on so few.
    """
    extremes = {name: (spread.lowest, spread.highest) for name, spread in spreads.items()}
    if method == "minmax":
        return extremes
    bins = ENTROPY_BINS if method == "entropy" else BINS
    collector: Any = HistogramCollector(method, False, bins, ENTROPY_LEVELS, PERCENTILE, "same")
    collector.histogram_dict = {
        name: (*spread.histogram(bins), *map(np.float32, extremes[name]))
        for name, spread in spreads.items()
    }
    found = collector.compute_collection_result()
    return {name: (float(found[name][0]), float(found[name][1])) for name in spreads}
