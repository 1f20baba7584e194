"""Fewer nodes for the same values: every small node is a kernel launch on a GPU.

torch's translation of an operator stands alone, so that neighbours undo each other's work: a size is
squeezed to a scalar and reshaped to a vector again, an index is transposed and squeezed. The rules
here know that. Each looks at one node and its producer, and replaces the node's output.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer, rewriter

Rule = Callable[[ir.Node], ir.Value | None]


def simplify(model: ir.Model) -> None:
    """Fold constants, merge equal nodes and apply the rules, in place."""
    optimizer.optimize_ir(model)
    rewriter.rewrite(model)
    for _ in range(8):  # rules open the way for each other; three rounds are usual
        changed = [apply(model, rule) for rule in RULES]
        common.CommonSubexpressionEliminationPass()(model)
        common.RemoveUnusedNodesPass()(model)
        if not any(changed):
            break
    optimizer.optimize_ir(model)


def apply(model: ir.Model, rule: Rule) -> int:
    """How many nodes of the graph `rule` replaced."""
    count = 0
    for node in list(model.graph):
        found = rule(node)
        if found is None:
            continue
        (output,) = node.outputs
        if output.is_graph_output():
            continue
        ir.convenience.replace_all_uses_with(output, found)
        model.graph.remove(node, safe=True)
        count += 1
    return count


def same_vector(node: ir.Node) -> ir.Value | None:
    """Reshape or Unsqueeze of what was squeezed from a vector of one; Reshape of a vector to -1."""
    if node.op_type == "Reshape" and constant(node.inputs[1]) == [-1]:
        if rank(node.inputs[0]) == 1:
            return node.inputs[0]
    elif node.op_type != "Unsqueeze":
        return None
    source = producer(node.inputs[0], "Squeeze")
    scalar = rank(node.inputs[0]) == 0 and rank(node.outputs[0]) == 1
    return source.inputs[0] if source is not None and scalar else None


def rows_of_nonzero(node: ir.Node) -> ir.Value | None:
    """Squeeze(Transpose(x [1, R]), 1) is Squeeze(x, 0)."""
    source = producer(node.inputs[0], "Transpose") if node.op_type == "Squeeze" else None
    if source is None or constant(node.inputs[1]) != [1] or rank(source.inputs[0]) != 2:
        return None
    return insert(node, "Squeeze", [source.inputs[0], ir.tensor(np.array([0]))])


def gathered_vector(node: ir.Node) -> ir.Value | None:
    """Reshape or Unsqueeze of a scalar gathered from a vector: gather a vector of one."""
    if node.op_type not in ("Reshape", "Unsqueeze") or rank(node.outputs[0]) != 1:
        return None
    source = producer(node.inputs[0], "Gather")
    if source is None or rank(node.inputs[0]) != 0 or constant(source.inputs[1]) is None:
        return None
    index = ir.tensor(np.array([constant(source.inputs[1])]).reshape(1))
    return insert(node, "Gather", [source.inputs[0], index])


def reshape_by_position(node: ir.Node) -> ir.Value | None:
    """Reshape to computed sizes, where copying (0) and inferring (-1) say the same.

    A size is copied only from the batch: of a tensor without rows nothing can be inferred.
    """
    if node.op_type != "Reshape" or constant(node.inputs[1]) is not None:
        return None
    source, target = node.inputs[0].shape, node.outputs[0].shape
    if source is None or target is None:
        return None
    sizes: list[int] = []
    for position, size in enumerate(target):
        if isinstance(size, int):
            sizes.append(size)
        elif position == 0 and len(source) and size == source[0] and is_batch(size):
            sizes.append(0)
        else:
            sizes.append(-1)
    if sizes.count(-1) > 1:
        return None
    return insert(node, "Reshape", [node.inputs[0], ir.tensor(np.array(sizes))])


RULES: tuple[Rule, ...] = (same_vector, rows_of_nonzero, gathered_vector, reshape_by_position)


def is_batch(size: ir.SymbolicDim) -> bool:
    """Whether a size is one of the input's own: torch names those s1, s2, ... and data's u1, u2."""
    return str(size.value).startswith("s")


def producer(value: ir.Value | None, operator: str) -> ir.Node | None:
    """The node that made `value`, if it is an `operator`."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == operator else None


def constant(value: ir.Value | None) -> list[int] | int | None:
    """The content of a constant of integers, None for anything else."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    if tensor is None or tensor.dtype != ir.DataType.INT64:
        return None
    content: list[int] | int = tensor.numpy().tolist()
    return content


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions, None if unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def insert(node: ir.Node, operator: str, inputs: list[ir.Value | ir.Tensor]) -> ir.Value:
    """A new node before `node` with the type and shape of its output; tensors become initializers."""
    graph = node.graph
    values = []
    for position, item in enumerate(inputs):
        if isinstance(item, ir.Value):
            values.append(item)
            continue
        name = f"{node.outputs[0].name}.{operator.lower()}.{position}"
        value = ir.Value(name=name, const_value=item, shape=item.shape, type=ir.TensorType(item.dtype))
        graph.register_initializer(value)
        values.append(value)
    made = ir.node(operator, values)
    made.outputs[0].shape, made.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    graph.insert_before(node, made)
    return made.outputs[0]
