"""ONNX through torch.export and torch.onnx, with N, H and W dynamic."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import onnx_ir as ir
import torch
from torch.export import Dim

from pedseg_runtime.manifest import INPUT_NAME, MANIFEST_KEY, OUTPUT_NAMES, Manifest

from ..graph import InferenceGraph
from .draft import Draft
from .translations import translations

OPSET = 18  # RoiAlign of opset 16 runs on CUDA from onnxruntime 1.25 on, which pedseg requires
EXAMPLE_SHAPE = (2, 160, 200, 3)  # no 0, no 1 and no two alike: the exporter would specialise them


def convert(graph: InferenceGraph) -> Draft:
    """Convert `graph`; its example input decides nothing but a type and a number of dimensions."""
    images = torch.zeros(EXAMPLE_SHAPE, dtype=torch.uint8)
    dynamic = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC}
    exported = torch.export.export(graph, (images,), dynamic_shapes=(dynamic,), strict=False)
    program = torch.onnx.export(
        exported,
        (),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT_NAME],
        output_names=list(OUTPUT_NAMES),
        custom_translation_table=translations(),
        verbose=False,
    )
    if program is None:
        raise TypeError("expected torch.onnx.export to return a program, found None")
    model = program.model
    tidy(model)
    operators = Counter(node.op_type for node in model.graph.all_nodes())
    return Draft(
        exporter="torch.onnx dynamo",
        opset=OPSET,
        facts={"nodes": operators.total(), "operators": len(operators)},
        write=partial(write, model),
    )


def write(model: ir.Model, path: Path, manifest: Manifest) -> None:
    """Write `model` with the manifest and the viewers' keys in its metadata."""
    model.metadata_props.clear()
    model.metadata_props.update(manifest.viewer_metadata())
    model.metadata_props[MANIFEST_KEY] = manifest.to_json()
    model.producer_name = "pedseg"
    model.producer_version = manifest.versions["pedseg"]
    ir.save(model, path)


def tidy(model: ir.Model) -> None:
    """Name the dynamic axes; drop what the exporter noted of the machine (stack traces, paths)."""
    (images,) = model.graph.inputs
    images.shape = ir.Shape(["batch", "height", "width", 3])
    for output in model.graph.outputs:
        if output.shape is not None:
            output.shape = ir.Shape(["detections", *output.shape.dims[1:]])
    for node in model.graph.all_nodes():
        node.doc_string = None
        node.metadata_props.clear()
        for value in (*node.inputs, *node.outputs):
            if value is not None:
                value.metadata_props.clear()
    model.graph.doc_string = None
    model.graph.metadata_props.clear()
