"""Static quantisation of a float32 ONNX artifact: uint8 activations, int8 weights per channel.

The result has QuantizeLinear / DequantizeLinear pairs (QDQ), which onnxruntime fuses into int8
kernels on a CPU. On CUDA it computes in float between the pairs and copies every bias from the
CPU, by onnxruntime's placement: expect no gain there (it was not timed). An x86 CPU without VNNI
adds int8 products up in 16 bits, which overflow; there the session option
`session.x64quantprecision=1` keeps the answers right. With VNNI it only costs time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from pedseg_runtime.artifact.checksum import CHECKSUM_KEY
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing

from ..library_output import capture_library_output, discard
from .activation_ranges import (
    METHODS,
    ActivationHistogram,
    Range,
    choose_ranges,
    collect_histograms,
)
from .regions import (
    STEM,
    GraphIndex,
    Regions,
    find_regions,
    name_nodes,
)
from .smoke_test import run_smoke_test


def pool_in_float(model: onnx.ModelProto) -> None:
    """Move a MaxPool before its ReLU where quantisation follows both, as in a ResNet's stem.

    The result is the same, bit for bit. But onnxruntime moves a QuantizeLinear that follows a
    MaxPool in front of it, and its integer MaxPool takes 57 ms instead of 3 (800 pixels, 2 cores).
    """
    index = GraphIndex(model.graph)
    outputs = {value.name for value in model.graph.output}
    for pool in index.nodes:
        relu = index.producer.get(pool.input[0]) if pool.op_type == "MaxPool" else None
        if relu is None or relu.op_type != "Relu" or len(pool.output) > 1:
            continue
        before, between, after = relu.input[0], relu.output[0], pool.output[0]
        readers = index.consumers[after]
        is_private = len(index.consumers[between]) == 1 and not {between, after} & outputs
        if not is_private or any(node.op_type != "QuantizeLinear" for node in readers):
            continue
        outdated = [info for info in model.graph.value_info if info.name == between]
        for info in outdated:  # its shape is the pooled one now
            model.graph.value_info.remove(info)
        first, second = NodeProto(), NodeProto()
        first.CopyFrom(pool)
        second.CopyFrom(relu)
        first.input[0], first.output[0] = before, between
        second.input[0], second.output[0] = between, after
        relu.CopyFrom(first)  # at its position, so that the order stays topological
        pool.CopyFrom(second)


MIN_ROWS = 32
"""Boxes that a head's layer needs in calibration; a range of fewer is a guess."""

NORMS = {"GroupNormalization", "InstanceNormalization", "LayerNormalization"}


@dataclass(frozen=True)
class QuantizationResult:
    """The result of a quantization.

    Attributes:
        notes: what stays in float32 and why, a clause each.
        operators: ONNX operator -> its count in the quantised graph.
        layers: number of layers that compute in int8.
    """

    notes: tuple[str, ...]
    operators: Mapping[str, int]
    layers: int


def quantize(
    source: Path,
    target: Path,
    *,
    images: Sequence[NDArray[np.uint8]],
    method: str = METHODS[0],
    notify: Callable[[str], object] = discard,
) -> QuantizationResult:
    """Quantise the suitable layers of an ONNX artifact and test that onnxruntime runs the result.

    Args:
        source: an artifact in float32, as `formats.onnx` writes it.
        target: path of the int8 graph, with the metadata of `source` but without checksum; an
            existing file is replaced only on success.
        images: to calibrate on, uint8 [H, W, 3] RGB of any sizes, as the service will see them.
            They are read one at a time.
        method: one of `METHODS`, see `choose_ranges`.
        notify: called with each progress message, one line.

    Raises:
        InputError: no images, an unknown method, or images of another size than the fixed one.
        ExportError: no graph of pedseg, or onnxruntime does not run the quantised graph.
    """
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
    if not len(images):
        raise InputError("calibration: expected images to calibrate on, found none")
    model = onnx.load(source)
    name_nodes(model)
    regions = find_regions(model.graph)
    _unshare_weights(model, regions.layers)
    fused = _fused_activations(model, regions)
    histograms = collect_histograms(
        model, _calibrated_values(model, regions, fused), images, notify
    )
    uncalibrated = _uncalibrated_layers(model, regions, histograms)
    regions = find_regions(model.graph, float_layers=uncalibrated)
    notify(f"quantising {len(regions.layers)} layers")
    with capture_library_output(notify):
        ranges = choose_ranges(histograms, method)
        ranges.update({value: ranges[activation] for value, activation in fused.items()})
        quantised = _insert_qdq_pairs(model, regions, ranges)
    pool_in_float(quantised)
    onnx.checker.check_model(quantised)
    operators = dict(Counter(node.op_type for node in quantised.graph.node))
    with replacing(target) as temporary:
        onnx.save(quantised, temporary)
        notify("running the int8 graph on images without detections")
        run_smoke_test(temporary)
    return QuantizationResult(
        notes=_notes(regions, uncalibrated, operators),
        operators=operators,
        layers=len(regions.layers),
    )


def _unshare_weights(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """Copy weights that layers share, as the RPN head does at all levels.

    onnxruntime 1.31 fails to load shared weights with `session.x64quantprecision=1`, which CPUs
    without VNNI need: it replaces the same tensor twice.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    taken: set[str] = set()
    for node in model.graph.node:
        if node.name not in layers:
            continue
        if node.input[1] in taken:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensors[node.input[1]])
            copy.name = f"{copy.name}.{node.name}"
            model.graph.initializer.append(copy)
            node.input[1] = copy.name
        taken.add(node.input[1])


def _fused_activations(model: onnx.ModelProto, regions: Regions) -> dict[str, str]:
    """Outputs of layers that only an activation reads -> the activation's output.

    The quantiser removes such an activation: the layer's range clips instead.
    """
    index = GraphIndex(model.graph)
    pass_through = set(regions.pass_through)
    return {
        node.input[0]: node.output[0]
        for node in index.nodes
        if node.name in pass_through
        and node.op_type in ("Relu", "Clip")
        and len(index.consumers[node.input[0]]) == 1
    }


def _calibrated_values(
    model: onnx.ModelProto, regions: Regions, fused: Mapping[str, str]
) -> list[str]:
    """Inputs and outputs of int8 nodes that need a range."""
    chosen = {*regions.layers, *regions.pass_through}
    constants = {tensor.name for tensor in model.graph.initializer}
    values: list[str] = []
    for node in model.graph.node:
        if node.name in chosen:
            values += [*(node.input if node.op_type == "Add" else node.input[:1]), *node.output]
    return [value for value in dict.fromkeys(values) if value not in {*fused, *constants}]


def _uncalibrated_layers(
    model: onnx.ModelProto, regions: Regions, histograms: Mapping[str, ActivationHistogram]
) -> frozenset[str]:
    """Layers of the heads with too few boxes on the calibration images."""
    read = {node.name: node.input[0] for node in model.graph.node if node.name in regions.heads}
    return frozenset(name for name, value in read.items() if histograms[value].rows < MIN_ROWS)


def _insert_qdq_pairs(
    model: onnx.ModelProto, regions: Regions, ranges: Mapping[str, Range]
) -> onnx.ModelProto:
    """The graph with QDQ pairs around the int8 nodes; its metadata without the checksum."""
    chosen = {*regions.layers, *regions.pass_through}
    types = {node.op_type for node in model.graph.node if node.name in chosen}
    limits = {name: tuple(map(np.float32, limits)) for name, limits in ranges.items()}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer: Any = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,  # see the module docstring for CPUs that overflow
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
        nodes_to_quantize=sorted(chosen),
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(types),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantised: onnx.ModelProto = quantizer.model.model
    # onnxruntime adds metadata of its own, and a checksum is valid only for its own file.
    metadata = [entry for entry in model.metadata_props if entry.key != CHECKSUM_KEY]
    for field, content in (("metadata_props", metadata), ("opset_import", model.opset_import)):
        quantised.ClearField(field)
        getattr(quantised, field).extend(content)
    quantised.producer_name = model.producer_name
    quantised.producer_version = model.producer_version
    return quantised


def _notes(
    regions: Regions, uncalibrated: Collection[str], operators: Collection[str]
) -> tuple[str, ...]:
    """What stays in float32 and why."""
    notes = [
        f"the stem ({len(regions.stem)} of the trunk's layers, above 1/{STEM} of the resolution): "
        "its rounding errors pass through all other layers, and it takes little time",
        "the last layer of each head (objectness, classes, boxes, masks): 256 steps would make "
        "ties in the comparisons that follow",
        "RoIAlign and transposed convolutions: onnxruntime has no int8 kernel for them",
        "resizing the image, box arithmetic, NMS and masks: 256 steps are too coarse",
        "additions and products after RoIAlign: onnxruntime's int8 product crashes on an "
        "image without detections",
    ]
    if NORMS & {*operators}:
        notes.append("normalisation by the image's own statistics: no weights to fold it into")
    if uncalibrated:
        notes.append(
            f"{len(uncalibrated)} layers of the heads: the calibration images gave them fewer than "
            f"{MIN_ROWS} boxes; calibrate on images with people"
        )
    return tuple(notes)
