"""What runs an artifact. Every format is the same small protocol; the content chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..devices import parse_device
from ..errors import ArtifactError, InputError
from ..manifest import Manifest

ZIP_MAGIC = b"PK\x03\x04"

# boxes, labels, scores, roi_masks, image_index: `manifest.OUTPUT_SPECS` has dtypes and shapes.
Outputs = tuple[
    NDArray[np.float32],
    NDArray[np.int64],
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.int64],
]


class Backend(Protocol):
    """A loaded artifact on a device."""

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""

    @property
    def provider(self) -> str:
        """What really runs it: an onnxruntime provider, "torch:cpu" or "torch:cuda:N"."""

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Segment uint8 [N, H, W, 3] RGB; detections of all images, ordered by image."""

    def close(self) -> None:
        """Let go of the model and its memory; runs under way in other threads finish."""


def open_backend(path: str | Path, *, device: str = "auto", threads: int | None = None) -> Backend:
    """Load an artifact with the backend its content asks for.

    Args:
        path: the artifact: an ONNX file or a TorchScript archive.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads for one run; None leaves it to the backend.

    Raises:
        ArtifactError: the file is missing, damaged or not from pedseg.
        DeviceError: CUDA was asked for and does not run the model.
        InputError: the device has an unknown name, or threads is not positive.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads: expected a positive number or None, found {threads}")
    path, wanted = Path(path), parse_device(device)
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(ZIP_MAGIC))
    except OSError as error:
        raise ArtifactError(
            f"{path}: expected an artifact, found none ({error.strerror}); check the path"
        ) from error
    if path.suffix == ".safetensors":
        raise ArtifactError(
            f"{path}: expected an artifact, found a checkpoint; export it with pedseg-export"
        )
    if magic == ZIP_MAGIC:
        from .torchscript import TorchScriptBackend

        return TorchScriptBackend(path, device=wanted, threads=threads)
    from .onnx import OnnxBackend

    return OnnxBackend(path, device=wanted, threads=threads)
