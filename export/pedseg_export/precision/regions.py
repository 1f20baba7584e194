"""Which nodes of an artifact's graph can compute in eight bits: told by how they are connected.

Names and counts of nodes change with the exporter; what does not is that pixels go through
convolutions to proposals, that RoIAlign cuts features out for those, and that heads follow it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import onnx
from onnx import GraphProto, NodeProto

from pedseg_runtime.errors import ExportError

KERNELS = ("Conv", "Gemm")  # layers that onnxruntime computes in int8 on a CPU
LAYERS = (*KERNELS, "ConvTranspose", "MatMul")
CUT = "RoiAlign"
STRIDED = ("Conv", "MaxPool", "AveragePool")
STEM = 4
"""Layers that read the image at more than 1/4 of its resolution are its stem."""


@dataclass(frozen=True)
class Regions:
    """What may become int8, as node names in the graph's order.

    Attributes:
        trunk: layers before RoIAlign, on every image the same number of rows: the image itself.
        heads: layers behind RoIAlign, with a row per box; there may be none.
        carriers: operators that pass the integers of one layer on to the next.
        stem: layers that could become int8 and stay in float.
    """

    trunk: tuple[str, ...]
    heads: tuple[str, ...]
    carriers: tuple[str, ...]
    stem: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer that becomes int8."""
        return (*self.trunk, *self.heads)


class Wiring:
    """Who makes and who reads each value of a graph without subgraphs."""

    def __init__(self, graph: GraphProto) -> None:
        self.nodes = list(graph.node)
        self.constants = {tensor.name for tensor in graph.initializer}
        self.producer = {value: node for node in graph.node for value in node.output if value}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for value in node.input:
                if value:
                    self.consumers[value].append(node)

    def downstream(self, values: Iterable[str], *, beyond_cut: bool = True) -> set[str]:
        """Names of the nodes that `values` reach, on request not past a RoIAlign."""
        return _reached(
            values,
            lambda value: self.consumers.get(value, ()),
            lambda node: node.output if beyond_cut or node.op_type != CUT else (),
        )

    def upstream(self, values: Iterable[str]) -> set[str]:
        """Names of the nodes that `values` are made from."""
        return _reached(
            values,
            lambda value: (self.producer[value],) if value in self.producer else (),
            lambda node: node.input,
        )

    def layers(self) -> list[NodeProto]:
        """The nodes that have trained weights."""
        return [
            node
            for node in self.nodes
            if node.op_type in LAYERS and len(node.input) > 1 and node.input[1] in self.constants
        ]

    def reductions(self) -> dict[str, int]:
        """How many pixels of the image, along one side, are one of a value's; 1 for the image."""
        found: dict[str, int] = {}
        for node in self.nodes:
            reduction = max((found.get(value, 1) for value in node.input), default=1)
            if node.op_type in STRIDED:
                reduction = found.get(node.input[0], 1) * _stride(node)
            found.update(dict.fromkeys(node.output, reduction))
        return found


def find_regions(graph: GraphProto, *, float_layers: Collection[str] = ()) -> Regions:
    """Sort the layers of an artifact's graph, nodes in topological order and uniquely named.

    A layer is left out whose answer is read by no other layer: it gives objectness, classes, boxes
    or masks, and 256 steps would make ties of what is compared next.

    Args:
        graph: of an ONNX artifact, without subgraphs.
        float_layers: names of layers to leave out.

    Raises:
        ExportError: there is no RoIAlign, so this is no Mask R-CNN.
    """
    wiring = Wiring(graph)
    pooled = [value for node in wiring.nodes if node.op_type == CUT for value in node.output]
    if not pooled:
        raise ExportError(
            f"int8: expected the graph of a Mask R-CNN, found none of {CUT} in it; "
            "export the checkpoint again as onnx in fp32"
        )
    behind_cut = wiring.downstream(pooled)
    reductions = wiring.reductions()
    layers = wiring.layers()
    names = {node.name for node in layers}
    trunk, heads, stem = [], [], []
    for node in layers:
        followed = names & wiring.downstream(node.output, beyond_cut=False)
        if node.op_type not in KERNELS or not followed or node.name in float_layers:
            continue
        if node.name in behind_cut:
            heads.append(node.name)
        elif reductions.get(node.input[0], 1) < STEM:
            stem.append(node.name)
        else:
            trunk.append(node.name)
    carriers = _carriers(wiring, {*trunk, *heads}, behind_cut)
    return Regions(tuple(trunk), tuple(heads), carriers, tuple(stem))


def _carriers(wiring: Wiring, layers: set[str], behind_cut: set[str]) -> tuple[str, ...]:
    """Operators between int8 layers that have integers to work on.

    Behind RoIAlign these are activations only, which onnxruntime makes part of the layer: its
    int8 product of two tensors dies on tensors without rows.
    """
    integer: set[str] = set()
    found = []
    for node in wiring.nodes:
        if node.op_type in ("Relu", "Clip"):
            carries = node.input[0] in integer
        elif node.op_type in ("MaxPool", "Resize"):
            carries = node.input[0] in integer and node.name not in behind_cut
        elif node.op_type == "Add":
            carries = integer.issuperset(node.input) and node.name not in behind_cut
        else:
            carries = False
        if carries:
            found.append(node.name)
        if carries or node.name in layers:
            integer.update(node.output)
    return tuple(found)


def _reached(
    values: Iterable[str],
    nodes_at: Callable[[str], Iterable[NodeProto]],
    values_of: Callable[[NodeProto], Iterable[str]],
) -> set[str]:
    """Names of the nodes found by going from values to nodes to values until nothing is new."""
    found: set[str] = set()
    waiting = list(values)
    while waiting:
        for node in nodes_at(waiting.pop()):
            if node.name not in found:
                found.add(node.name)
                waiting.extend(values_of(node))
    return found


def _stride(node: NodeProto) -> int:
    """The largest stride of a convolution or a pooling."""
    strides = [list(item.ints) for item in node.attribute if item.name == "strides"]
    return max(strides[0]) if strides else 1


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own; onnxruntime's quantiser is told by names what to do."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}_unnamed"
        taken.add(node.name)
