"""Open an artifact of any format, split into stages."""

from __future__ import annotations

from pathlib import Path

import torch

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.backends import open_backend
from pedseg_runtime.backends.torch import TorchScriptBackend

from .borders import SplitArtifact
from .onnx import SplitOnnx
from .pt2 import SplitPt2
from .torchscript import SplitTorchScript


def split_artifact(path: Path, device: torch.device, levels: int) -> tuple[SplitArtifact, Manifest]:
    """Open the artifact at `path`, split into stages; `levels` is that of its pyramid.

    The runtime loads and checks it first.

    Raises:
        ArtifactError: it is damaged or foreign, or its stages have no names.
        DeviceError: the device does not run it.
    """
    backend = open_backend(path, device=str(device))
    manifest = backend.artifact.manifest
    if not isinstance(backend, TorchScriptBackend):
        backend.close()
        return SplitOnnx(path, manifest, device, levels), manifest
    module = backend.module
    if isinstance(module, torch.jit.ScriptModule):
        return SplitTorchScript(path, module, manifest, device, levels), manifest
    return SplitPt2(path, module, manifest, device, levels), manifest
