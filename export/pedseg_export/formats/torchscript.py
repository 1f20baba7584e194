"""TorchScript: the same graph, scripted. Files need torchvision's operators, nothing of pedseg."""

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


def convert(graph: InferenceGraph, *, static_shape: Shape | None = None, opset: int = 0) -> Draft:  # noqa: ARG001
    """Compile `graph` with `torch.jit.script`, whose code takes any size: nothing can be fixed."""
    module: Any = torch.jit.script(graph)
    return Draft(exporter="torch.jit.script", write=partial(write, module))


def write(module: Any, path: Path, manifest: Manifest, golden: str | None) -> None:
    """Write the archive with the manifest as an extra file."""
    torch.jit.save(module, str(path), _extra_files=extra_files(manifest, golden))
