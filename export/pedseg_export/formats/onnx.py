"""ONNX through torch.export and torch.onnx."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import onnx_ir as ir
import torch

from pedseg_runtime.artifact.manifest import (
    INPUT_NAME,
    MANIFEST_KEY,
    SELF_TEST_KEY,
    Manifest,
    output_specs,
)

from ..graph import InferenceGraph
from .base import Draft, Shape, trace
from .onnx_rewrites import INTERMEDIATE_DOMAIN, simplify, translations

EXPORTER = "torch.onnx dynamo"


def convert_onnx(
    graph: InferenceGraph, *, static_shape: Shape | None = None, opset: int = 18
) -> Draft:
    """Convert `graph`, with free or fixed sizes, to ONNX opset 18 or later."""
    mask_format = "roi" if graph.paste is None else "full"
    for part in (graph.boxes.pool, graph.masks.pool, graph.proposals):
        part.exports_operator = True
    program = torch.onnx.export(
        trace(graph, static_shape),
        (),
        dynamo=True,
        opset_version=opset,
        input_names=[INPUT_NAME],
        output_names=[spec["name"] for spec in output_specs(mask_format)],
        custom_translation_table=translations(),
        verbose=False,
        optimize=False,  # only after the marking operators are removed: they would hinder it
    )
    if program is None:
        raise TypeError("expected torch.onnx.export to return a program, found None")
    model = program.model
    simplify(model, keep=name_intermediates(model))
    tidy(model, static_shape, mask_format)
    return draft_of(model)


def draft_of(model: ir.Model, *, notes: tuple[str, ...] = ()) -> Draft:
    """A draft of a finished ONNX graph."""
    return Draft(
        exporter=EXPORTER,
        opset=model.opset_imports[""],
        operators=dict(Counter(node.op_type for node in model.graph.all_nodes())),
        notes=notes,
        write=partial(write_onnx, model),
    )


def write_onnx(model: ir.Model, path: Path, manifest: Manifest, self_test: str | None) -> None:
    """Write `model` with the manifest and keys for common viewers in its metadata."""
    model.metadata_props.clear()
    model.metadata_props.update(manifest.viewer_metadata())
    if self_test is not None:
        model.metadata_props[SELF_TEST_KEY] = self_test
    model.metadata_props[MANIFEST_KEY] = manifest.to_json()
    model.producer_name = "pedseg"
    model.producer_version = manifest.versions["pedseg"]
    ir.save(model, path)


def name_intermediates(model: ir.Model) -> list[ir.Value]:
    """Replace the marking operators by their inputs, under their names; return these values."""
    marked = []
    for node in list(model.graph):
        if node.domain == INTERMEDIATE_DOMAIN:
            value, output = node.inputs[0], node.outputs[0]
            if value is None:
                raise TypeError(f"expected {node.name} to mark a value, found none")
            ir.convenience.replace_all_uses_with(output, value, replace_graph_outputs=True)
            value.name, value.shape = node.attributes["name"].as_string(), output.shape
            model.graph.remove(node, safe=True)
            marked.append(value)
    model.opset_imports.pop(INTERMEDIATE_DOMAIN, None)
    return marked


def tidy(model: ir.Model, static_shape: Shape | None, mask_format: str) -> None:
    """Name the dynamic axes; drop stack traces and paths of this machine."""
    (images,) = model.graph.inputs
    images.shape = ir.Shape([*(static_shape or ("batch", "height", "width")), 3])
    frame = images.shape.dims[1:3] if mask_format == "full" else None
    for output in model.graph.outputs:
        if output.shape is not None:
            rest = frame if output.name == "masks" and frame else output.shape.dims[1:]
            output.shape = ir.Shape(["detections", *rest])
    for node in model.graph.all_nodes():
        node.doc_string = None
        node.metadata_props.clear()
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                value.metadata_props.clear()
    model.graph.doc_string = None
    model.graph.metadata_props.clear()
