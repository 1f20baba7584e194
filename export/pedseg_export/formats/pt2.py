"""pt2: an `ExportedProgram`, what PyTorch offers in place of TorchScript."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch.export import ExportedProgram

from pedseg_runtime.manifest import Manifest

from ..graph import InferenceGraph
from ..graph.pyramid import align_boxes
from .draft import Draft
from .extra import extra_files
from .tracing import Shape, trace


def convert(graph: InferenceGraph, *, static_shape: Shape | None = None) -> Draft:
    """Trace `graph` with `torch.export`, with free or fixed sizes."""
    # pedseg's RoIAlign is for ONNX; whoever loads the file shall need torchvision's alone.
    program = trace(graph, static_shape).run_decompositions(
        {torch.ops.pedseg.align.default: align_boxes}
    )
    name_taps(program)
    return Draft(exporter="torch.export", write=partial(write, program))


def write(program: ExportedProgram, path: Path, manifest: Manifest, golden: str | None) -> None:
    """Write the archive with the manifest as an extra file."""
    files = {name: text.decode() for name, text in extra_files(manifest, golden).items()}
    with path.open("wb") as stream:  # a stream: a path would have to end in .pt2
        torch.export.save(program, stream, extra_files=files)


def name_taps(program: ExportedProgram) -> None:
    """Take the tap operators out; what they tapped bears their name, with underscores for dots."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.pedseg.tap.default:
            value, name = node.args
            node.replace_all_uses_with(value)
            program.graph.erase_node(node)
            value.name = name.replace(".", "_")
    program.graph_module.recompile()
