"""TorchScript: the inference graph, scripted. Loading needs torchvision's operators, not pedseg."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from pedseg_runtime.artifact.manifest import Manifest

from ..graph import InferenceGraph
from .draft import Draft
from .extra import extra_files
from .tracing import Shape


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
