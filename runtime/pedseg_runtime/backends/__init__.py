"""What runs an artifact. Every format is the same small protocol; the content chooses."""

from __future__ import annotations

from pathlib import Path

from ..artifact.metadata import is_archive
from ..artifact.reading import read_artifact
from ..devices import parse_device
from ..errors import InputError
from .base import DEFAULT_MAX_BATCH_PIXELS, Backend, Placement, Resources

__all__ = ["DEFAULT_MAX_BATCH_PIXELS", "Backend", "Placement", "Resources", "open_backend"]


def open_backend(
    path: str | Path, *, device: str = "auto", resources: Resources | None = None
) -> Backend:
    """Load an artifact with the backend its content asks for.

    Args:
        path: the artifact: an ONNX file, or an archive of TorchScript or torch.export.
        device: see `parse_device`.
        resources: what it may use; None leaves all to the backend.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, edited or of a newer schema.
        DeviceError: another device than the CPU was asked for and does not run the model.
        InputError: the device has an unknown name, or cannot run this format.
    """
    wanted = parse_device(device)
    artifact, resources = read_artifact(path), resources or Resources()
    if not is_archive(artifact.path):
        if wanted.kind == "openvino":
            from .openvino import OpenVinoBackend

            return OpenVinoBackend(artifact, wanted, resources)
        from .onnx import OnnxBackend

        return OnnxBackend(artifact, wanted, resources)
    if wanted.kind in ("tensorrt", "openvino"):
        raise InputError(
            f"device: expected auto, cpu or cuda for {artifact.path}, which torch runs, found "
            f"{device!r}; export with --format onnx for it"
        )
    if artifact.manifest.format == "pt2":
        from .torch import Pt2Backend

        return Pt2Backend(artifact, wanted, resources)
    from .torch import TorchScriptBackend

    return TorchScriptBackend(artifact, wanted, resources)
