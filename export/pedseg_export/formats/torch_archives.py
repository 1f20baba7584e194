"""Torch's own archives: TorchScript, scripted, and pt2, an `ExportedProgram`.

TorchScript files need torchvision's operators and nothing of pedseg; pt2 is what PyTorch offers in
its place.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from pedseg_runtime.artifact.manifest import Manifest

from ..graph import InferenceGraph
from .base import Draft, Shape, extra_files, trace


def convert_torchscript(
    graph: InferenceGraph,
    *,
    static_shape: Shape | None = None,  # noqa: ARG001
    opset: int = 0,  # noqa: ARG001
) -> Draft:
    """Compile `graph` with `torch.jit.script`; its sizes are always free."""
    module: Any = torch.jit.script(graph)
    return Draft(exporter="torch.jit.script", write=partial(write_torchscript, module))


def write_torchscript(module: Any, path: Path, manifest: Manifest, self_test: str | None) -> None:
    """Write the archive with the manifest as an extra file."""
    torch.jit.save(module, str(path), _extra_files=extra_files(manifest, self_test))


def convert_pt2(
    graph: InferenceGraph,
    *,
    static_shape: Shape | None = None,
    opset: int = 0,  # noqa: ARG001
) -> Draft:
    """Trace `graph` with `torch.export`, with free or fixed sizes."""
    program = trace(graph, static_shape)
    name_intermediates(program)
    return Draft(exporter="torch.export", write=partial(write_pt2, program))


def write_pt2(
    program: ExportedProgram, path: Path, manifest: Manifest, self_test: str | None
) -> None:
    """Write the archive with the manifest as an extra file."""
    files = {name: text.decode() for name, text in extra_files(manifest, self_test).items()}
    with path.open("wb") as stream:  # a stream: a path would need the suffix .pt2
        torch.export.save(program, stream, extra_files=files)


def name_intermediates(program: ExportedProgram) -> None:
    """Replace the marking operators by their inputs, under their names with _ for dots."""
    names = {}
    for node in list(program.graph.nodes):
        if node.target is torch.ops.pedseg.mark_intermediate.default:
            value, name = node.args
            node.replace_all_uses_with(value)
            program.graph.erase_node(node)
            value.name = name.replace(".", "_")
            names[node.name] = value.name
    for spec in program.graph_signature.output_specs:
        spec.arg.name = names.get(spec.arg.name, spec.arg.name)
    for module in program.graph_module.modules():  # their stack traces hold paths of this machine
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    program.graph_module.recompile()
