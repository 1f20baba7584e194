"""TorchScript: the same graph, scripted. Files need torchvision's operators, nothing of pedseg."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from pedseg_runtime.manifest import MANIFEST_FILE, Manifest

from ..graph import InferenceGraph
from .draft import Draft


def convert(graph: InferenceGraph) -> Draft:
    """Compile `graph` with `torch.jit.script`."""
    module: Any = torch.jit.script(graph)
    return Draft(exporter="torch.jit.script", facts={}, write=partial(write, module))


def write(module: Any, path: Path, manifest: Manifest) -> None:
    """Write the archive with the manifest as an extra file."""
    extra = {MANIFEST_FILE: manifest.to_json().encode()}
    torch.jit.save(module, str(path), _extra_files=extra)
