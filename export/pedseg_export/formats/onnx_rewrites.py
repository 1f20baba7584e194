"""ONNX for operators that torch cannot translate or translates wastefully, and fewer nodes.

Every small node is a kernel launch on a GPU. torch's translation of an operator stands alone, so
that neighbours undo each other's work: a size is squeezed to a scalar and reshaped to a vector
again, an index is transposed and squeezed. Each rule looks at a node and the node before it, and
names a simpler one for the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import torch
from onnx.defs import OpSchema
from onnx_ir.passes import common
from onnxscript import opset18 as op
from onnxscript import optimizer, rewriter
from onnxscript.values import Op, Opset

from ..graph import (  # noqa: F401  register pedseg's operators
    batched_nms,
    intermediates,
    nms,
    roi_align,
)
from .onnx_nms import translate_batched_nms, translate_nms

INTERMEDIATE_DOMAIN = "pedseg.intermediates"
INTERMEDIATE_TYPES = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(int64)"]
MARK_INTERMEDIATE = OpSchema(
    "MarkIntermediate",
    INTERMEDIATE_DOMAIN,
    1,
    inputs=[OpSchema.FormalParameter("value", "T")],
    outputs=[OpSchema.FormalParameter("same", "T")],
    type_constraints=[("T", INTERMEDIATE_TYPES, "")],
    attributes=[OpSchema.Attribute("name", OpSchema.AttrType.STRING, "name of the value")],
)

Translation = Callable[..., Any]


def translations() -> dict[Any, Translation]:
    """The `custom_translation_table` for `torch.onnx.export`."""
    return {
        torch.ops.pedseg.suppress.default: translate_nms,
        torch.ops.pedseg.suppress_batched.default: translate_batched_nms,
        torch.ops.pedseg.align.default: translate_roi_align,
        torch.ops.pedseg.size_of.default: lambda features: op.Shape(features, start=2),
        torch.ops.pedseg.mark_intermediate.default: translate_mark,
        torch.ops.aten.div.Tensor_mode: translate_integer_division,
        torch.ops.aten.div.Scalar_mode: translate_integer_division,
    }


def translate_roi_align(
    features: Any,
    boxes: Any,
    image_index: Any,
    scale: float,
    size: Sequence[int],
    sampling_ratio: int,
) -> Any:
    """RoIAlign of opset 16, where output_half_pixel is torchvision's aligned=False."""
    return op.RoiAlign(
        features,
        boxes,
        image_index,
        coordinate_transformation_mode="output_half_pixel",
        mode="avg",
        output_height=size[0],
        output_width=size[1],
        sampling_ratio=sampling_ratio,
        spatial_scale=scale,
    )


def translate_mark(value: Any, name: str) -> Any:
    """A node that only carries a name; `formats.onnx` removes it."""
    return Op(Opset(INTERMEDIATE_DOMAIN, 1), "MarkIntermediate", MARK_INTERMEDIATE)(
        value, name=name
    )


def translate_integer_division(
    dividend: Any, divisor: Any, rounding_mode: str | None = None
) -> Any:
    """Integer division of sizes and indices, none of them negative: ONNX Div on integers.

    torch's own translation divides in float32, which is exact only up to 2**24.
    """
    if not dividend.dtype.is_integer() or rounding_mode is None:
        raise TypeError(f"expected an integer division, found {dividend.dtype} / {rounding_mode}")
    if not hasattr(divisor, "dtype"):
        divisor = op.Constant(value_int=int(divisor))
    return op.Div(dividend, divisor)


MAX_FOLDED = 1 << 18  # elements of a constant that is folded into others
MAX_ROUNDS = 8  # one rule may enable another; three rounds are usual
RESHAPING = ("Reshape", "Squeeze", "Unsqueeze")
ARITHMETIC = ("Add", "Sub", "Mul", "Div")


class Replacement(NamedTuple):
    """Replaces a node: `operator` on `source` and a constant, or `source` itself."""

    source: ir.Value
    operator: str | None = None
    argument: Sequence[int] = ()


Rule = Callable[[ir.Node, ir.Value], Replacement | None]


def simplify(model: ir.Model, keep: Sequence[ir.Value] = ()) -> None:
    """Fold constants, merge equal nodes and apply the rules, in place.

    Args:
        model: changed in place.
        keep: values that stay in the graph under their names.
    """
    output_count = len(model.graph.outputs)
    model.graph.outputs.extend(value for value in keep if not value.is_graph_output())
    optimizer.optimize_ir(model)
    rewriter.rewrite(model)
    for _ in range(MAX_ROUNDS):
        changed = [apply_rule(model.graph, rule) for rule in RULES]
        changed += [lift_arithmetic(model.graph), drop_selections(model.graph)]
        common.CommonSubexpressionEliminationPass()(model)
        common.RemoveUnusedNodesPass()(model)
        if not any(changed):
            break
    optimizer.optimize_ir(model, input_size_limit=MAX_FOLDED, output_size_limit=MAX_FOLDED)
    drop_selections(model.graph)
    del model.graph.outputs[output_count:]


def apply_rule(graph: ir.Graph, rule: Rule) -> int:
    """Apply a rule to every node of `graph`; return the number of replaced nodes."""
    count = 0
    for node in list(graph):
        source = node.inputs[0] if node.inputs else None
        if source is None or node.op_type not in RESHAPING or node.outputs[0].is_graph_output():
            continue
        found = rule(node, source)
        if found is not None:
            value = _insert(graph, node, found) if found.operator else found.source
            ir.convenience.replace_all_uses_with(node.outputs[0], value)
            graph.remove(node, safe=True)
            count += 1
    return count


def lift_arithmetic(graph: ir.Graph) -> int:
    """Compute vectors of one where scalars are computed only to become such; return how many.

    Where the scalars come from vectors, as sizes do, the other rules then leave these alone.
    """
    count = 0
    for node in list(graph):
        source = node.inputs[0] if node.inputs else None
        if source is None or _rank(source) != 0 or _rank(node.outputs[0]) != 1:
            continue
        before = source.producer()
        if before is None or before.op_type not in ARITHMETIC or node.op_type not in RESHAPING:
            continue
        inputs = [value for value in before.inputs if value is not None]
        vectors = {value: _as_vector(graph, node, value) for value in inputs}
        lifted = ir.node(before.op_type, [vectors[value] for value in inputs])
        output = lifted.outputs[0]
        output.shape, output.type = node.outputs[0].shape, node.outputs[0].type
        graph.insert_before(node, lifted)
        ir.convenience.replace_all_uses_with(node.outputs[0], output)
        graph.remove(node, safe=True)
        count += 1
    return count


def _as_vector(graph: ir.Graph, node: ir.Node, value: ir.Value) -> ir.Value:
    """A scalar as a vector of one, inserted before `node`; constants broadcast as they are."""
    if ir.convenience.get_const_tensor(value) is not None or _rank(value) != 0:
        return value
    return _insert(graph, node, Replacement(value, "Reshape", [-1]))


def drop_selections(graph: ir.Graph) -> int:
    """Drop nodes that select all there is; return how many.

    That is the only entry of a vector, and the parts of a vector joined in their order.
    """
    count = 0
    for node in list(graph):
        source = node.inputs[0] if node.inputs else None
        if source is None or node.outputs[0].is_graph_output():
            continue
        if node.op_type == "Gather":
            is_all = source.shape == [1] and _constant(node.inputs[1]) in ([0], [-1])
        elif node.op_type == "Concat":
            before = source.producer()
            is_all = (
                before is not None
                and before.op_type == "Split"
                and tuple(node.inputs) == tuple(before.outputs)
                and _rank(source) == 1
            )
            source = before.inputs[0] if is_all and before is not None else None
        else:
            continue
        if is_all and source is not None:
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
            graph.remove(node, safe=True)
            count += 1
    return count


def same_vector(node: ir.Node, source: ir.Value) -> Replacement | None:
    """A vector reshaped to a vector, or squeezed to a scalar and back."""
    if node.op_type == "Reshape" and _constant(node.inputs[1]) == [-1] and _rank(source) == 1:
        return Replacement(source)
    squeezed = _source_of(source, "Squeeze")
    if squeezed is None or _rank(source) != 0 or _rank(node.outputs[0]) != 1:
        return None
    return Replacement(squeezed)


def gathered_vector(node: ir.Node, source: ir.Value) -> Replacement | None:
    """A scalar gathered from a vector and made a vector of one: gather that vector."""
    gathered = _source_of(source, "Gather")
    if gathered is None or _rank(source) != 0 or _rank(node.outputs[0]) != 1:
        return None
    gather = source.producer()
    index = _constant(gather.inputs[1]) if gather is not None else None
    return Replacement(gathered, "Gather", [index]) if isinstance(index, int) else None


def row_of_nonzero(node: ir.Node, source: ir.Value) -> Replacement | None:
    """Squeeze(Transpose(x [1, R]), 1) is Squeeze(x, 0)."""
    row = _source_of(source, "Transpose")
    if row is None or node.op_type != "Squeeze" or _constant(node.inputs[1]) != [1]:
        return None
    return Replacement(row, "Squeeze", [0]) if _rank(row) == 2 else None


def reshape_by_position(node: ir.Node, source: ir.Value) -> Replacement | None:
    """Reshape to computed sizes, where copying (0) and inferring (-1) give the same.

    A size is copied only from the batch: in a tensor without rows no size can be inferred.
    """
    before, after = source.shape, node.outputs[0].shape
    if node.op_type != "Reshape" or _constant(node.inputs[1]) is not None:
        return None
    if before is None or after is None:
        return None
    sizes: list[int] = []
    for position, size in enumerate(after):
        if isinstance(size, int):
            sizes.append(size)
        elif position == 0 and len(before) and size == before[0] and _is_batch(size):
            sizes.append(0)
        else:
            sizes.append(-1)
    return Replacement(source, "Reshape", sizes) if sizes.count(-1) <= 1 else None


def reshape_of_reshape(node: ir.Node, source: ir.Value) -> Replacement | None:
    """Two changes of shape in a row, where the last one alone gives the result."""
    before = source.producer()
    if before is None or before.op_type not in RESHAPING or len(source.uses()) > 1:
        return None
    sizes = _sizes(node)
    if sizes is None or before.inputs[0] is None:
        return None
    return Replacement(before.inputs[0], "Reshape", sizes)


RULES: tuple[Rule, ...] = (
    same_vector,
    gathered_vector,
    row_of_nonzero,
    reshape_by_position,
    reshape_of_reshape,
)


def _sizes(node: ir.Node) -> list[int] | None:
    """The output sizes of a reshaping node, at most one of them -1; None if unknown."""
    sizes = _constant(node.inputs[1])
    if node.op_type != "Reshape":
        shape = node.outputs[0].shape
        sizes = [size if isinstance(size, int) else -1 for size in shape] if shape else None
    if not isinstance(sizes, list) or 0 in sizes or sizes.count(-1) > 1:
        return None
    return sizes


def _is_batch(size: ir.SymbolicDim) -> bool:
    """Whether a size is one of the input: torch names these s1, s2, others u1, u2."""
    return str(size.value).startswith("s")


def _source_of(value: ir.Value, operator: str) -> ir.Value | None:
    """The first input of the `operator` that made `value`, None if another operator did."""
    node = value.producer()
    return node.inputs[0] if node is not None and node.op_type == operator else None


def _constant(value: ir.Value | None) -> list[int] | int | None:
    """The content of a constant of integers, None for anything else."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    if tensor is None or tensor.dtype != ir.DataType.INT64:
        return None
    content: list[int] | int = tensor.numpy().tolist()
    return content


def _rank(value: ir.Value) -> int | None:
    """The number of dimensions, None if unknown."""
    return None if value.shape is None else len(value.shape)


def _insert(graph: ir.Graph, node: ir.Node, found: Replacement) -> ir.Value:
    """The output of a new node before `node`, of the same type and shape."""
    tensor = ir.tensor(np.array(found.argument, np.int64))
    output = node.outputs[0]
    argument = ir.Value(
        name=f"{output.name}.{found.source.name}.{found.operator}",
        const_value=tensor,
        shape=ir.Shape([len(found.argument)]),
        type=ir.TensorType(tensor.dtype),
    )
    graph.register_initializer(argument)
    new_node = ir.node(str(found.operator), [found.source, argument])
    new_node.outputs[0].shape, new_node.outputs[0].type = output.shape, output.type
    graph.insert_before(node, new_node)
    return new_node.outputs[0]
