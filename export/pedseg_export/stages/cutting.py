"""Open an artifact of any format in stages."""

from __future__ import annotations

from pathlib import Path

import torch

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.backends import open_backend
from pedseg_runtime.backends.torch import TorchScriptBackend

from .borders import CutArtifact
from .onnx import CutOnnx
from .pt2 import CutProgram
from .torchscript import CutScript


def cut(path: Path, device: torch.device, levels: int) -> tuple[CutArtifact, Manifest]:
    """Open the artifact at `path` in stages; `levels` is the number of its pyramid's levels.

    The runtime loads it first, with all that it checks.

    Raises:
        ArtifactError: it is damaged or foreign, or its stages cannot be told apart.
        DeviceError: the device does not run it.
    """
    backend = open_backend(path, device=str(device))
    manifest = backend.artifact.manifest
    if not isinstance(backend, TorchScriptBackend):
        backend.close()
        return CutOnnx(path, manifest, device, levels), manifest
    module = backend.module
    if isinstance(module, torch.jit.ScriptModule):
        return CutScript(path, module, manifest, device, levels), manifest
    return CutProgram(path, module, manifest, device, levels), manifest
