"""A rewrite of quantised graphs that avoids onnxruntime's slow int8 pooling."""

from __future__ import annotations

import onnx
from onnx import NodeProto

from .regions import GraphIndex


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
