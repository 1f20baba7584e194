"""The values that a graph's activations take on calibration images, and the range for eight bits.

An activation of a ResNet-50 at 800 pixels has 50 MB, and a hundred of them are observed. So the
graph that is run returns a sample of each and its extremes, and no activation outlives the nodes
that read it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import HistogramCollector

from pedseg_runtime.artifact.manifest import INPUT_NAME
from pedseg_runtime.errors import ExportError, InputError

from .regions import GraphIndex

METHODS = ("percentile", "minmax", "entropy")
BINS = 4096
ENTROPY_BINS = 512  # the search takes quadratic time
ENTROPY_LEVELS = 128
PERCENTILE = 99.999

Range = tuple[float, float]


class ActivationHistogram:
    """A histogram of one activation, of constant size.

    It spans -bound..bound in `BINS` bins. A value outside doubles the bound: pairs of bins are
    merged, so that counts stay exact.

    Attributes:
        lowest, highest: the extremes of the activation.
        rows: the length of its first axis, summed over all runs.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.bound = 0.0
        self.lowest, self.highest = math.inf, -math.inf
        self.rows = 0

    def add(self, sample: NDArray[np.float32], *, lowest: float, highest: float, rows: int) -> None:
        """Add the values of one run.

        Args:
            sample: some of its values, [S].
            lowest: of all its values.
            highest: of all its values.
            rows: the length of its first axis.

        Raises:
            ExportError: a value is not finite.
        """
        if not np.isfinite([lowest, highest]).all() or not np.isfinite(sample).all():
            raise ExportError(
                "int8: expected finite activations, found NaN or infinity on a calibration image; "
                "check the checkpoint with pedseg-eval"
            )
        self.rows += rows
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self._widen(max(-lowest, highest))
        scale = BINS / 2 / (self.bound or 1.0)
        index = np.clip(sample * scale + BINS / 2, 0, BINS - 1).astype(np.int64)
        self.counts += np.bincount(index, minlength=BINS)

    def histogram(self, bins: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Counts [bins] and edges [bins + 1]; `bins` divides `BINS`."""
        bound = self.bound or 1.0
        edges = np.linspace(-bound, bound, bins + 1, dtype=np.float32)
        return self.counts.reshape(bins, -1).sum(axis=1), edges

    def _widen(self, needed: float) -> None:
        """Double the bound until `needed` is within."""
        if self.bound == 0.0:
            self.bound = needed  # all values so far were 0, which stays in its bin
        while self.bound < needed:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, BINS // 4)
            self.bound *= 2


def choose_ranges(histograms: Mapping[str, ActivationHistogram], method: str) -> dict[str, Range]:
    """Choose the range of each activation that eight bits span, by onnxruntime's rules.

    `percentile` clips the most extreme 0.001 %, `minmax` nothing. `entropy` searches the range with
    the least Kullback-Leibler divergence; it clips more. Points of AP against float32,
    MobileNetV2 on 60 photographs, boxes and masks: percentile -0.2 and +0.3, minmax +0.9 and -0.4,
    entropy +0.2 and -0.8; a point up or down is noise on so few.
    """
    extremes = {
        name: (histogram.lowest, histogram.highest) for name, histogram in histograms.items()
    }
    if method == "minmax":
        return extremes
    bins = ENTROPY_BINS if method == "entropy" else BINS
    collector: Any = HistogramCollector(method, False, bins, ENTROPY_LEVELS, PERCENTILE, "same")
    collector.histogram_dict = {
        name: (*histogram.histogram(bins), *map(np.float32, extremes[name]))
        for name, histogram in histograms.items()
    }
    found = collector.compute_collection_result()
    return {name: (float(found[name][0]), float(found[name][1])) for name in histograms}


SAMPLE_SIZE = 1 << 18
"""Smallest number of values sampled per activation and run; all of a smaller one."""

LOG_ERROR = 3
PROBE_CONSTANTS = {
    "probe.flat": np.array([-1]),
    "probe.zero": np.zeros(1, np.float32),
    "probe.sample": np.array([2 * SAMPLE_SIZE]),
    "probe.two": np.array([2]),
    "probe.one": np.array([1]),
    "probe.start": np.array([0]),
    "probe.end": np.array([np.iinfo(np.int64).max]),
}

Image = NDArray[np.uint8]


def collect_histograms(
    model: onnx.ModelProto,
    values: Iterable[str],
    images: Sequence[Image],
    notify: Callable[[str], object],
) -> dict[str, ActivationHistogram]:
    """Run an artifact's graph on images and collect a histogram of each of `values`.

    Args:
        model: with `images` uint8 [N, H, W, 3] as its input.
        values: names of float32 values in it.
        images: uint8 [H, W, 3] RGB; for a graph with fixed sizes, of those.
        notify: called with each progress message, one line.

    Raises:
        InputError: an image does not have the graph's fixed size.
        ExportError: a value is not finite.
    """
    histograms = {name: ActivationHistogram() for name in values}
    session = open_session(_add_probes(model, list(histograms)))
    shape = session.get_inputs()[0].shape
    starts = range(0, len(images), _batch_size(shape[0]))
    begun = time.perf_counter()
    for number, start in enumerate(starts, start=1):
        outputs = iter(session.run(None, {INPUT_NAME: make_batch(images, start, shape)}))
        for histogram in histograms.values():
            sample, lowest, highest, size = (next(outputs) for _ in range(4))
            histogram.add(sample, lowest=float(lowest), highest=float(highest), rows=int(size[0]))
        if number in (1, len(starts)) or number % 10 == 0:
            seconds = (time.perf_counter() - begun) / number * (len(starts) - number)
            notify(f"calibrating: run {number} of {len(starts)}, about {seconds:.0f} s to go")
    return histograms


def extract_subgraph(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """The subgraph of `model` that computes the float32 values `names`, its outputs."""
    names = list(names)
    needed = GraphIndex(model.graph).upstream(names)
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    nodes = [node for node in graph.node if node.name in needed]
    read = {value for node in nodes for value in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    fields = {"node": nodes, "initializer": constants, "value_info": [], "output": outputs}
    for field, content in fields.items():
        graph.ClearField(field)
        getattr(graph, field).extend(content)
    return part


def open_session(model: onnx.ModelProto) -> Any:
    """An onnxruntime session on the CPU that frees a value once all nodes have read it.

    With the default execution order and optimisation most activations would stay until their
    probes run at the end: 4.6 GiB instead of 1.4 for a ResNet-50 at 800x1333.
    """
    options = ort.SessionOptions()
    options.log_severity_level = LOG_ERROR
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def make_batch(images: Sequence[Image], start: int, shape: Sequence[int | str]) -> Image:
    """Images from `start` on as uint8 [N, H, W, 3]: one, or as many as the graph's fixed batch.

    The last image is repeated to fill the batch.

    Raises:
        InputError: the graph is fixed to another size.
    """
    count, *size = shape[:3]
    last = len(images) - 1
    chosen = [images[min(start + k, last)] for k in range(_batch_size(count))]
    for image in chosen:
        pairs = zip(size, image.shape[:2], strict=True)
        if any(isinstance(fixed, int) and fixed != found for fixed, found in pairs):
            raise InputError(
                f"calibration: expected images of {size[0]}x{size[1]}, the fixed size of the "
                f"graph, found {image.shape[0]}x{image.shape[1]}; scale them as the service will"
            )
    return np.stack(chosen)


def _batch_size(axis: int | str) -> int:
    """The size of a fixed batch axis; 1 for a free axis, which has a name."""
    return axis if isinstance(axis, int) else 1


def _add_probes(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The graph with four outputs for each value: a sample [S], lowest [], highest [], shape."""
    part = extract_subgraph(model, names)
    graph = part.graph
    graph.ClearField("output")
    for name, value in PROBE_CONSTANTS.items():
        graph.initializer.append(numpy_helper.from_array(value, name))
    for name in names:
        graph.node.extend(_probe_nodes(name))
        for output, kind in _probe_outputs(name).items():
            graph.output.append(helper.make_tensor_value_info(output, kind, None))
    return part


def _probe_outputs(value: str) -> dict[str, int]:
    """The outputs of `_probe_nodes` and their types."""
    of = onnx.TensorProto
    kinds = {"sample": of.FLOAT, "lowest": of.FLOAT, "highest": of.FLOAT, "shape": of.INT64}
    return {f"{value}/{output}": kind for output, kind in kinds.items()}


def _probe_nodes(value: str) -> list[NodeProto]:
    """Nodes that sample a value and find its extremes; a 0 is added, in case it is empty.

    Every k-th value is sampled, with k odd so that every column of an even width is met.
    """
    steps = [
        ("Reshape", ["", "probe.flat"], "flat"),
        ("Concat", ["flat", "probe.zero"], "all"),
        ("Shape", ["all"], "size"),
        ("Div", ["size", "probe.sample"], "fold"),
        ("Mul", ["fold", "probe.two"], "even"),
        ("Add", ["even", "probe.one"], "odd"),
        ("Slice", ["all", "probe.start", "probe.end", "probe.start", "odd"], "sample"),
        ("ReduceMin", ["all"], "lowest"),
        ("ReduceMax", ["all"], "highest"),
        ("Shape", [""], "shape"),
    ]
    outputs = {name for _, _, name in steps}
    attributes: dict[str, dict[str, Any]] = {
        "Concat": {"axis": 0},
        "ReduceMin": {"keepdims": 0},
        "ReduceMax": {"keepdims": 0},
    }
    return [
        helper.make_node(
            kind,
            [f"{value}/{name}" if name in outputs else name or value for name in inputs],
            [f"{value}/{output}"],
            **attributes.get(kind, {}),
        )
        for kind, inputs, output in steps
    ]
