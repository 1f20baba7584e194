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
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from pedseg_runtime.artifact.checksum import CHECKSUM_KEY
from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing

from ..quiet import silent, told_briefly
from .observation import observe
from .pooling import pool_in_float
from .ranges import METHODS, Range, Spread, choose_ranges
from .regions import STEM, Regions, Wiring, find_regions, name_nodes
from .survival import survives

MIN_ROWS = 32
"""Boxes that a head's layer must have seen; a range of fewer is a guess."""

NORMS = {"GroupNormalization", "InstanceNormalization", "LayerNormalization"}


@dataclass(frozen=True)
class Quantised:
    """What became of an artifact's graph.

    Attributes:
        notes: what stayed in float32 and why, a clause each.
        operators: ONNX operator -> how often the quantised graph has it.
        layers: how many layers compute in int8.
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
    notify: Callable[[str], object] = silent,
) -> Quantised:
    """Quantise the layers of an ONNX artifact that bear it, and see onnxruntime run the result.

    Args:
        source: an artifact in float32, as `formats.onnx` writes it.
        target: where the int8 graph goes, with the metadata of `source` but without a checksum;
            an existing file is replaced only on success.
        images: to calibrate on, uint8 [H, W, 3] RGB of any sizes, as the service will see them.
            They are asked for one at a time.
        method: one of `METHODS`, see `choose_ranges`.
        notify: is told in one line what happens.

    Raises:
        InputError: no images, an unknown method, or images that a fixed graph does not take.
        ExportError: no graph of pedseg, or one that onnxruntime does not run when quantised.
    """
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
    if not len(images):
        raise InputError("calibration: expected images to calibrate on, found none")
    model = onnx.load(source)
    name_nodes(model)
    regions = find_regions(model.graph)
    _own_weights(model, regions.layers)
    merged = _merged(model, regions)
    spreads = observe(model, _read(model, regions, merged), images, notify)
    starved = _starved(model, regions, spreads)
    regions = find_regions(model.graph, float_layers=starved)
    notify(f"quantising {len(regions.layers)} layers")
    with told_briefly(notify):
        ranges = choose_ranges(spreads, method)
        ranges.update({value: ranges[by] for value, by in merged.items()})
        quantised = _with_pairs(model, regions, ranges)
    pool_in_float(quantised)
    onnx.checker.check_model(quantised)
    operators = dict(Counter(node.op_type for node in quantised.graph.node))
    with replacing(target) as temporary:
        onnx.save(quantised, temporary)
        notify("running the int8 graph on images without detections")
        survives(temporary)
    return Quantised(
        notes=_notes(regions, starved, operators),
        operators=operators,
        layers=len(regions.layers),
    )


def _own_weights(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """Give each layer weights of its own; the RPN head uses the same at every level.

    onnxruntime 1.31 fails to load shared ones with `session.x64quantprecision=1`, which CPUs
    without VNNI need: it replaces a tensor that it has replaced already.
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


def _merged(model: onnx.ModelProto, regions: Regions) -> dict[str, str]:
    """Layers' outputs that only an activation reads -> that activation's output.

    The quantiser takes such an activation out and lets the layer's range do the clipping.
    """
    wiring = Wiring(model.graph)
    carriers = set(regions.carriers)
    return {
        node.input[0]: node.output[0]
        for node in wiring.nodes
        if node.name in carriers
        and node.op_type in ("Relu", "Clip")
        and len(wiring.consumers[node.input[0]]) == 1
    }


def _read(model: onnx.ModelProto, regions: Regions, merged: Mapping[str, str]) -> list[str]:
    """The float values that int8 nodes read or make, and that have a range of their own."""
    chosen = {*regions.layers, *regions.carriers}
    constants = {tensor.name for tensor in model.graph.initializer}
    values: list[str] = []
    for node in model.graph.node:
        if node.name in chosen:
            values += [*(node.input if node.op_type == "Add" else node.input[:1]), *node.output]
    return [value for value in dict.fromkeys(values) if value not in {*merged, *constants}]


def _starved(
    model: onnx.ModelProto, regions: Regions, spreads: Mapping[str, Spread]
) -> frozenset[str]:
    """Layers of the heads that saw too few boxes on the calibration images."""
    read = {node.name: node.input[0] for node in model.graph.node if node.name in regions.heads}
    return frozenset(name for name, value in read.items() if spreads[value].rows < MIN_ROWS)


def _with_pairs(
    model: onnx.ModelProto, regions: Regions, ranges: Mapping[str, Range]
) -> onnx.ModelProto:
    """The graph with QDQ pairs around the chosen nodes, and its metadata without the checksum."""
    chosen = {*regions.layers, *regions.carriers}
    types = {node.op_type for node in model.graph.node if node.name in chosen}
    limits = {name: tuple(map(np.float32, limits)) for name, limits in ranges.items()}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer: Any = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,  # 7 bits would do for CPUs that overflow; the module says what does too
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
    # onnxruntime signs what it made, and a checksum holds for the file it was written into.
    metadata = [entry for entry in model.metadata_props if entry.key != CHECKSUM_KEY]
    for field, content in (("metadata_props", metadata), ("opset_import", model.opset_import)):
        quantised.ClearField(field)
        getattr(quantised, field).extend(content)
    quantised.producer_name = model.producer_name
    quantised.producer_version = model.producer_version
    return quantised


def _notes(
    regions: Regions, starved: Collection[str], operators: Collection[str]
) -> tuple[str, ...]:
    """What stayed in float32 and why."""
    notes = [
        f"the stem ({len(regions.stem)} of the trunk's layers, above 1/{STEM} of the resolution): "
        "what is rounded there passes through all others, and it takes little time",
        "the last layer of each head (objectness, classes, boxes, masks): 256 steps would make "
        "ties of what is compared next",
        "RoIAlign and transposed convolutions: onnxruntime has no int8 kernel for them",
        "resizing the image, box arithmetic, NMS and masks: 256 steps are no coordinates",
        "additions and products behind RoIAlign: onnxruntime's int8 product dies on an image "
        "without detections",
    ]
    if NORMS & {*operators}:
        notes.append("normalisation by the image's own statistics: no weights to fold it into")
    if starved:
        notes.append(
            f"{len(starved)} layers of the heads: the calibration images gave them fewer than "
            f"{MIN_ROWS} boxes; calibrate on images with people"
        )
    return tuple(notes)
