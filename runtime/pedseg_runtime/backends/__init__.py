"""What runs an artifact. Every format is the same small protocol; the content chooses."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..contents import is_archive, read_contents
from ..devices import parse_device
from ..errors import ArtifactError, InputError
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
Placement = Mapping[str, Mapping[str, int]]  # provider -> operator -> number of nodes


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact whose seal was checked, as far as it can be read without running it.

    Attributes:
        path: its file.
        digest: SHA-256 of its content, as sealed at the export: 64 hex digits.
        manifest: what its exporter wrote about it.
        golden: the samples of its self-test as text (`golden.decode` reads it), None if it has
            none.
    """

    path: Path
    digest: str
    manifest: Manifest
    golden: str | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What a backend may use of the machine; see `Segmenter.load`.

    Attributes:
        profile: where onnxruntime shall write what every node takes, as the start of a file name;
            None for not at all. For `pedseg-bench profile`: it costs time.
    """

    threads: int | None = None
    gpu_mem_limit: int | None = None
    shrink_memory: bool = False
    engine_cache: Path | None = None
    profile: Path | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "gpu_mem_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected a positive number or None, found {value}")


class Backend(Protocol):
    """A loaded artifact on a device."""

    @property
    def artifact(self) -> Artifact:
        """What it runs."""

    @property
    def provider(self) -> str:
        """What really runs it: an onnxruntime provider, "torch:cpu" or "torch:cuda:N"."""

    @property
    def library(self) -> str:
        """The library beneath, with its version: "onnxruntime 1.31.1", "torch 2.14.1"."""

    @property
    def placement(self) -> Placement | None:
        """Which provider runs how many nodes; None where the library has one device only."""

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Segment uint8 [N, H, W, 3] RGB; detections of all images, ordered by image."""

    def close(self) -> None:
        """Let go of the model and its memory; runs under way in other threads finish."""


def read_artifact(path: str | Path) -> Artifact:
    """Read and check the artifact at `path`, without the library that will run it.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, edited or of a newer schema.
    """
    path = Path(path)
    if path.suffix == ".safetensors" and path.is_file():
        raise ArtifactError(
            f"{path}: expected an artifact, found a checkpoint; export it with pedseg-export"
        )
    try:
        digest = check_seal(path)
    except OSError as error:
        raise ArtifactError(
            f"{path}: expected an artifact, found none ({error.strerror}); check the path"
        ) from error
    contents = read_contents(path)
    return Artifact(path, digest, contents.manifest, contents.golden)


def open_backend(
    path: str | Path, *, device: str = "auto", resources: Resources | None = None
) -> Backend:
    """Load an artifact with the backend its content asks for.

    Args:
        path: the artifact: an ONNX file, or an archive of TorchScript or torch.export.
        device: "auto", "cpu", "cuda", "cuda:N", "tensorrt" or "tensorrt:N".
        resources: what it may use; None leaves all to the backend.

    Raises:
        ArtifactError: the file is missing, foreign, damaged, edited or of a newer schema.
        DeviceError: another device than the CPU was asked for and does not run the model.
        InputError: the device has an unknown name, or cannot run this format.
    """
    wanted = parse_device(device)
    artifact, resources = read_artifact(path), resources or Resources()
    if not is_archive(artifact.path):
        from .onnx import OnnxBackend

        return OnnxBackend(artifact, wanted, resources)
    if wanted.kind == "tensorrt":
        raise InputError(
            f"device: expected auto, cpu or cuda for {artifact.path}, which torch runs, found "
            f"{device!r}; export with --format onnx for TensorRT"
        )
    if artifact.manifest.format == "pt2":
        from .pt2 import Pt2Backend

        return Pt2Backend(artifact, wanted, resources)
    from .torchscript import TorchScriptBackend

    return TorchScriptBackend(artifact, wanted, resources)
