"""Find the nodes of an artifact's graph that can compute in eight bits, by their connections.

Names and counts of nodes change with the exporter. Their connections do not: convolutions lead from
pixels to proposals, RoIAlign extracts features for these, and the heads follow.
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
ROI_ALIGN = "RoiAlign"
STRIDED = ("Conv", "MaxPool", "AveragePool")
STEM = 4
"""Layers that read the image at more than 1/4 of its resolution are its stem."""


@dataclass(frozen=True)
class Regions:
    """Nodes that can become int8, as names in the graph's order.

    Attributes:
        trunk: layers before RoIAlign, with a row per image: backbone, FPN and RPN head.
        heads: layers after RoIAlign, with a row per box; there may be none.
        pass_through: operators that pass the integers of one layer on to the next.
        stem: layers of the trunk that stay in float.
    """

    trunk: tuple[str, ...]
    heads: tuple[str, ...]
    pass_through: tuple[str, ...]
    stem: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that become int8."""
        return (*self.trunk, *self.heads)


class GraphIndex:
    """The producer and the consumers of each value of a graph without subgraphs."""

    def __init__(self, graph: GraphProto) -> None:
        self.nodes = list(graph.node)
        self.constants = {tensor.name for tensor in graph.initializer}
        self.producer = {value: node for node in graph.node for value in node.output if value}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for value in node.input:
                if value:
                    self.consumers[value].append(node)

    def downstream(self, values: Iterable[str], *, past_roi_align: bool = True) -> set[str]:
        """Names of the nodes that depend on `values`, on request only up to RoIAlign."""
        return _reached(
            values,
            lambda value: self.consumers.get(value, ()),
            lambda node: node.output if past_roi_align or node.op_type != ROI_ALIGN else (),
        )

    def upstream(self, values: Iterable[str]) -> set[str]:
        """Names of the nodes that `values` depend on."""
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

    def strides(self) -> dict[str, int]:
        """Stride of each value, in pixels of the image; 1 for the image."""
        found: dict[str, int] = {}
        for node in self.nodes:
            reduction = max((found.get(value, 1) for value in node.input), default=1)
            if node.op_type in STRIDED:
                reduction = found.get(node.input[0], 1) * _stride(node)
            found.update(dict.fromkeys(node.output, reduction))
        return found


def find_regions(graph: GraphProto, *, float_layers: Collection[str] = ()) -> Regions:
    """Assign the layers of an artifact's graph to regions.

    Last layers are left out: they give objectness, classes, boxes or masks, and 256 steps would
    make ties in the comparisons that follow.

    Args:
        graph: of an ONNX artifact, without subgraphs; its nodes have unique names and are in
            topological order.
        float_layers: names of layers to leave out.

    Raises:
        ExportError: the graph has no RoIAlign, so it is no Mask R-CNN.
    """
    index = GraphIndex(graph)
    pooled = [value for node in index.nodes if node.op_type == ROI_ALIGN for value in node.output]
    if not pooled:
        raise ExportError(
            f"int8: expected the graph of a Mask R-CNN, found no {ROI_ALIGN} in it; "
            "export the checkpoint again as onnx in fp32"
        )
    after_roi_align = index.downstream(pooled)
    strides = index.strides()
    layers = index.layers()
    names = {node.name for node in layers}
    trunk, heads, stem = [], [], []
    for node in layers:
        followed = names & index.downstream(node.output, past_roi_align=False)
        if node.op_type not in KERNELS or not followed or node.name in float_layers:
            continue
        if node.name in after_roi_align:
            heads.append(node.name)
        elif strides.get(node.input[0], 1) < STEM:
            stem.append(node.name)
        else:
            trunk.append(node.name)
    pass_through = _pass_through(index, {*trunk, *heads}, after_roi_align)
    return Regions(tuple(trunk), tuple(heads), pass_through, tuple(stem))


def _pass_through(
    index: GraphIndex, layers: set[str], after_roi_align: set[str]
) -> tuple[str, ...]:
    """Operators between int8 layers whose inputs are integers.

    After RoIAlign these are only activations, which onnxruntime fuses into the layer: its int8
    product of two tensors crashes on tensors without rows.
    """
    integer: set[str] = set()
    found = []
    for node in index.nodes:
        if node.op_type in ("Relu", "Clip"):
            is_integer = node.input[0] in integer
        elif node.op_type in ("MaxPool", "Resize"):
            is_integer = node.input[0] in integer and node.name not in after_roi_align
        elif node.op_type == "Add":
            is_integer = integer.issuperset(node.input) and node.name not in after_roi_align
        else:
            is_integer = False
        if is_integer:
            found.append(node.name)
        if is_integer or node.name in layers:
            integer.update(node.output)
    return tuple(found)


def _reached(
    values: Iterable[str],
    nodes_at: Callable[[str], Iterable[NodeProto]],
    values_of: Callable[[NodeProto], Iterable[str]],
) -> set[str]:
    """Names of all nodes that are reached from `values`."""
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
    """Give every node a unique name, by which onnxruntime's quantiser selects nodes."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}_unnamed"
        taken.add(node.name)
