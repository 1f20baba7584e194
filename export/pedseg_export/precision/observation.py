"""What values a graph's activations take on calibration images.

An activation of a ResNet-50 at 800 pixels has 50 MB, and a hundred of them are looked at. So the
graph that is run answers with a sample of each and its extremes, and no activation outlives the
nodes that read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from pedseg_runtime.artifact.manifest import INPUT_NAME
from pedseg_runtime.errors import InputError

from .ranges import Spread
from .regions import Wiring

SAMPLE = 1 << 18
"""Values per activation and run that are looked at, at least; all of a smaller one."""

LOG_ERROR = 3
CONSTANTS = {
    "probe.flat": np.array([-1]),
    "probe.zero": np.zeros(1, np.float32),
    "probe.sample": np.array([2 * SAMPLE]),
    "probe.two": np.array([2]),
    "probe.one": np.array([1]),
    "probe.start": np.array([0]),
    "probe.end": np.array([np.iinfo(np.int64).max]),
}

Image = NDArray[np.uint8]


def observe(
    model: onnx.ModelProto,
    values: Iterable[str],
    images: Sequence[Image],
    notify: Callable[[str], object],
) -> dict[str, Spread]:
    """Run an artifact's graph on images and see how `values` spread.

    Args:
        model: with `images` uint8 [N, H, W, 3] as its input.
        values: names of float32 values in it.
        images: uint8 [H, W, 3] RGB; for a graph with fixed sizes, of those.
        notify: is told in one line how far it is.

    Raises:
        InputError: an image has not the graph's fixed size.
        ExportError: a value is not finite.
    """
    spreads = {name: Spread() for name in values}
    session = open_session(_probed(model, list(spreads)))
    shape = session.get_inputs()[0].shape
    starts = range(0, len(images), _length(shape[0]))
    begun = time.perf_counter()
    for number, start in enumerate(starts, start=1):
        answers = iter(session.run(None, {INPUT_NAME: batch(images, start, shape)}))
        for spread in spreads.values():
            sample, lowest, highest, extent = (next(answers) for _ in range(4))
            spread.add(sample, lowest=float(lowest), highest=float(highest), rows=int(extent[0]))
        if number in (1, len(starts)) or number % 10 == 0:
            seconds = (time.perf_counter() - begun) / number * (len(starts) - number)
            notify(f"calibrating: run {number} of {len(starts)}, about {seconds:.0f} s to go")
    return spreads


def cut_out(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """The part of `model` that the float32 values `names` need, with them as its outputs."""
    names = list(names)
    needed = Wiring(model.graph).upstream(names)
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
    """An onnxruntime session on the CPU that lets go of a value once all nodes have read it.

    In the usual order, and in the layout that the highest optimisation brings, most activations
    would wait for their probes until the end: 4.6 GiB instead of 1.4 for a ResNet-50 at 800x1333.
    """
    options = ort.SessionOptions()
    options.log_severity_level = LOG_ERROR
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def batch(images: Sequence[Image], start: int, shape: Sequence[int | str]) -> Image:
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


def _probed(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The graph with four outputs for each value: a sample [S], lowest [], highest [], shape."""
    part = cut_out(model, names)
    graph = part.graph
    graph.ClearField("output")
    for name, value in CONSTANTS.items():
        graph.initializer.append(numpy_helper.from_array(value, name))
    for name in names:
        graph.node.extend(_probe(name))
        for answer, kind in _answers(name).items():
            graph.output.append(helper.make_tensor_value_info(answer, kind, None))
    return part


def _answers(value: str) -> dict[str, int]:
    """The outputs of `_probe` and their types."""
    of = onnx.TensorProto
    kinds = {"sample": of.FLOAT, "lowest": of.FLOAT, "highest": of.FLOAT, "shape": of.INT64}
    return {f"{value}/{answer}": kind for answer, kind in kinds.items()}


def _probe(value: str) -> list[NodeProto]:
    """Nodes that sample a value and find its extremes, and a 0, for there may be no values.

    Every k-th value is taken, k odd so that it meets every column of an even width.
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
    made = {name for _, _, name in steps}
    attributes: dict[str, dict[str, Any]] = {
        "Concat": {"axis": 0},
        "ReduceMin": {"keepdims": 0},
        "ReduceMax": {"keepdims": 0},
    }
    return [
        helper.make_node(
            kind,
            [f"{value}/{name}" if name in made else name or value for name in inputs],
            [f"{value}/{output}"],
            **attributes.get(kind, {}),
        )
        for kind, inputs, output in steps
    ]
