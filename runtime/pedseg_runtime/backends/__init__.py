"""What runs an artifact. Every format is the same small protocol; the content chooses."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..contents import is_archive, read_contents
from ..devices import parse_device
from ..errors import ArtifactError, DeviceError, InputError
from ..manifest import Manifest
from ..seal import check_seal

logger = logging.getLogger(__name__)

# boxes, labels, scores, roi_masks or masks, image_index: `manifest.output_specs` has dtypes and
# shapes. The fourth is float32 or uint8, by the manifest's mask format.
Outputs = tuple[
    NDArray[np.float32],
    NDArray[np.int64],
    NDArray[np.float32],
    NDArray[Any],
    NDArray[np.int64],
]


class Backend(Protocol):
    """A loaded artifact on a device."""

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""

    @property
    def golden(self) -> str | None:
        """The samples of its self-test as text (`golden.decode` reads it), None if it has none."""

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
        path: the artifact: an ONNX file, or an archive of TorchScript or torch.export.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads for one run; None leaves it to the backend.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, edited or of a newer schema.
        DeviceError: CUDA was asked for and does not run the model.
        InputError: the device has an unknown name, or threads is not positive.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads: expected a positive number or None, found {threads}")
    path, wanted = Path(path), parse_device(device)
    try:
        archive = is_archive(path)
    except OSError as error:
        raise ArtifactError(
            f"{path}: expected an artifact, found none ({error.strerror}); check the path"
        ) from error
    if path.suffix == ".safetensors":
        raise ArtifactError(
            f"{path}: expected an artifact, found a checkpoint; export it with pedseg-export"
        )
    check_seal(path)
    if archive and read_contents(path).manifest.format == "pt2":
        from .pt2 import Pt2Backend

        return Pt2Backend(path, device=wanted, threads=threads)
    if archive:
        from .torchscript import TorchScriptBackend

        return TorchScriptBackend(path, device=wanted, threads=threads)
    from .onnx import OnnxBackend

    return OnnxBackend(path, device=wanted, threads=threads)


def run_failure(
    path: Path, provider: str, error: Exception, shape: tuple[int, ...]
) -> ArtifactError | DeviceError:
    """The pedseg error for a run of `path` on `provider` that failed on images of `shape`."""
    text = one_line(error)
    images = f"{shape[0]} images of {shape[1]}x{shape[2]}"
    if re.search(r"alloc|out of memory", text, re.IGNORECASE):
        return DeviceError(
            f"{path}: expected {provider} to have memory for {images}, found {text}; "
            "use a smaller batch_size or smaller images"
        )
    if "cuda" in provider.lower():
        return DeviceError(
            f"{path}: expected {provider} to run {images}, found {text}; try device='cpu'"
        )
    return ArtifactError(
        f"{path}: expected the graph to run on {images}, found {text}; "
        "export the checkpoint again with pedseg-export"
    )


def one_line(error: Exception) -> str:
    """What a library's message says, without onnxruntime's tags and CUDA's call stacks."""
    text = " ".join(str(error).split())
    failure = re.search(r"CU[A-Z]* failure \d+: [^;]+", text)
    if failure:
        return failure.group().strip()
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from \S+ failed:)?", "", text)
    return text if len(text) <= 300 else f"{text[:300]}..."
