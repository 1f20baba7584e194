"""What values a graph's activations take on pictures, and the range that eight bits shall span."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from pedseg_runtime.errors import ExportError, InputError
from pedseg_runtime.manifest import INPUT_NAME

from .regions import Wiring

METHODS = ("percentile", "minmax", "entropy")
BINS = 4096
ENTROPY_BINS = 512  # the search takes time with the square of them
ENTROPY_LEVELS = 128
PERCENTILE = 99.999
SAMPLE = 1 << 18  # values per activation and image; extremes are taken from all of them
LOG_ERROR = 3

Image = NDArray[np.uint8]
Range = tuple[float, float]


class Spread:
    """A histogram of one activation that never needs more memory.

    It spans -reach..reach in `BINS` bins. A value beyond doubles the reach: pairs of bins are
    merged, so counts stay exact, which a histogram with new edges could not promise.

    Attributes:
        lowest, highest: the extremes.
        rows: the length of the first axis, over all images.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.reach = 0.0
        self.lowest, self.highest = math.inf, -math.inf
        self.rows = 0

    def add(self, values: NDArray[np.float32], offset: int = 0) -> None:
        """Count the values of one image, float32 [rows, ...]; `offset` varies which are sampled.

        Raises:
            ExportError: some are not finite.
        """
        self.rows += values.shape[0]
        if values.size == 0:
            return
        lowest, highest = float(values.min()), float(values.max())
        if not math.isfinite(lowest) or not math.isfinite(highest):
            raise ExportError(
                f"int8: expected finite activations, found {lowest} to {highest} on a calibration "
                "image; check the checkpoint with pedseg-eval"
            )
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self._widen(max(-lowest, highest))
        step = values.size // SAMPLE | 1  # odd, so that it meets every column of an even width
        sample = values.reshape(-1)[offset % step :: step]
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


def observe(
    model: onnx.ModelProto,
    values: Iterable[str],
    images: Sequence[Image],
    notify: Callable[[str], object],
) -> dict[str, Spread]:
    """Run an artifact's graph on images and see how `values` spread, one run in memory at a time.

    Args:
        model: with `images` uint8 [N, H, W, 3] as its input.
        values: names of float32 values in it.
        images: uint8 [H, W, 3] RGB; for a graph with fixed sizes, of those.
        notify: is told in one line how far it is.

    Raises:
        InputError: an image has not the graph's fixed size.
        ExportError: a value is not finite.
    """
    names = list(values)
    spreads = {name: Spread() for name in names}
    session = _session(_cut_out(model, names))
    shape = session.get_inputs()[0].shape
    starts = range(0, len(images), _length(shape[0]))
    begun = time.perf_counter()
    for number, start in enumerate(starts, start=1):
        outputs = session.run(names, {INPUT_NAME: _batch(images, start, shape)})
        for name in names:
            spreads[name].add(outputs.pop(0), offset=number)
        if number in (1, len(starts)) or number % 10 == 0:
            seconds = (time.perf_counter() - begun) / number * (len(starts) - number)
            notify(f"calibrating: run {number} of {len(starts)}, about {seconds:.0f} s to go")
    return spreads


def choose_ranges(spreads: Mapping[str, Spread], method: str) -> dict[str, Range]:
    """The range of each activation that eight bits shall span, by onnxruntime's rules.

    `percentile` leaves out the most extreme 0.001 %, `minmax` nothing. `entropy` looks for the
    range with the least Kullback-Leibler divergence; it clips more. Points of AP against float32,
    MobileNetV2 on 60 photographs, boxes and masks: percentile 0.0 and +0.1, minmax +0.9 and -0.4,
    entropy +0.2 and -0.8; half a point is noise.
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


def _cut_out(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The part of `model` that `names` need, with them as its outputs."""
    needed = Wiring(model.graph).upstream(names)
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    nodes = [node for node in graph.node if node.name in needed]
    read = {value for node in nodes for value in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    for field, content in (("node", nodes), ("initializer", constants), ("value_info", [])):
        graph.ClearField(field)
        getattr(graph, field).extend(content)
    graph.ClearField("output")
    for name in names:
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return part


def _session(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = LOG_ERROR
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _batch(images: Sequence[Image], start: int, shape: Sequence[int | str]) -> Image:
    """Images from `start` on as uint8 [N, H, W, 3]: one, or as many as the graph is fixed to.

    Where images run out the last one fills up.

    Raises:
        InputError: the graph is fixed to another size.
    """
    count, *size = shape[:3]
    last = len(images) - 1
    chosen = [images[min(start + k, last)] for k in range(_length(count))]
    for image in chosen:
        pairs = zip(size, image.shape[:2], strict=True)
        if any(isinstance(fixed, int) and fixed != found for fixed, found in pairs):
            raise InputError(
                f"calibration: expected images of {size[0]}x{size[1]}, which the graph is fixed "
                f"to, found {image.shape[0]}x{image.shape[1]}; scale them as the service will"
            )
    return np.stack(chosen)


def _length(axis: int | str) -> int:
    """The length of a fixed batch axis; a free one, which has a name, is run with 1."""
    return axis if isinstance(axis, int) else 1
