"""TorchScript artifacts by torch: the one place of the runtime that imports it, and by name."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..devices import Device, explain_cuda, probe_driver
from ..errors import ArtifactError, DeviceError
from . import Artifact, Outputs, Placement, Resources, logger
from .failures import one_line, run_failure


class TorchScriptBackend:
    """A TorchScript artifact in this process's torch.

    `run` may be called from several threads at once. That is safe and does not make it faster.
    Torch has no settings per model: `threads` and `gpu_mem_limit` hold for the whole process.

    Attributes:
        module: the loaded module; None once it is closed.
    """

    placement: Placement | None = None

    def __init__(self, artifact: Artifact, device: Device, resources: Resources) -> None:
        """Load the archive of `artifact`.

        Raises:
            ArtifactError: the file is damaged or not an artifact of pedseg, or torch is missing.
            DeviceError: CUDA was asked for and torch cannot use it.
        """
        self.artifact = artifact
        self._torch = _import_torch(artifact.path)
        chosen = _choose(self._torch, device)
        self._device = str(chosen)
        self._shrinks = resources.shrink_memory and chosen.kind == "cuda"
        self.library = f"torch {self._torch.__version__}"
        self.provider = f"torch:{self._device}"
        if resources.threads is not None:
            self._torch.set_num_threads(resources.threads)
        if resources.gpu_mem_limit is not None and chosen.kind == "cuda":
            memory = self._torch.cuda.get_device_properties(chosen.index).total_memory
            share = min(1.0, resources.gpu_mem_limit / memory)
            self._torch.cuda.set_per_process_memory_fraction(share, chosen.index)
        self.module: Any = self._load(artifact.path)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Segment uint8 [N, H, W, 3] RGB; see `Backend.run`.

        The optimising executor is off (per thread, so nobody else notices): it compiles the graph
        anew in the first calls and for later shapes, and no call was faster for it (a toy detector
        on 2 CPU cores: first calls 80 and 39 ms with it, 12 and 5 ms without, then 5 to 6 ms both).
        """
        torch, module = self._torch, self.module
        writable = np.require(images, requirements="W")  # torch knows no other, and would warn
        try:
            with torch.inference_mode(), torch.jit.optimized_execution(False):
                outputs = module(torch.from_numpy(writable).to(self._device))
                return tuple(output.cpu().numpy() for output in outputs)
        except RuntimeError as error:
            raise run_failure(self.artifact.path, self.provider, error, images.shape) from error
        finally:
            if self._shrinks:
                torch.cuda.empty_cache()

    def close(self) -> None:
        """Let go of the module; a run under way in another thread finishes."""
        self.module = None

    def _load(self, path: Path) -> Any:
        """The scripted module in eval mode on the device."""
        torch = self._torch
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message=r"`torch\.jit\.load` is deprecated", category=FutureWarning
                )
                return torch.jit.load(str(path), map_location=self._device).eval()
        except RuntimeError as error:
            raise ArtifactError(
                f"{path}: expected a TorchScript archive that torch {torch.__version__} can load, "
                f"found {one_line(error)}; export the checkpoint again with pedseg-export"
            ) from error


def _import_torch(path: Path) -> Any:
    """Torch, with torchvision's operators registered."""
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("torchvision")
    except ImportError as error:
        raise ArtifactError(
            f"{path}: an artifact of torch needs torch, and torchvision for its NMS operator, "
            f"found {error}; pip install 'pedseg[train]', or export with --format onnx"
        ) from error
    return torch


def _choose(torch: Any, device: Device) -> Device:
    """The device to run on: what was asked for, or for "auto" CUDA where torch can use it.

    Raises:
        DeviceError: CUDA was asked for and torch cannot use it.
    """
    if device.kind == "cpu":
        return device
    wanted = Device("cuda", device.index)
    usable = torch.cuda.is_available() and wanted.index < torch.cuda.device_count()
    if usable:
        return wanted
    cause = _why_not(torch, wanted)
    if device.kind == "cuda":
        raise DeviceError(f"{device}: expected torch to run on CUDA, found that it cannot: {cause}")
    if probe_driver().devices:
        logger.warning("running on the CPU although there is a GPU: %s", cause)
    return Device("cpu")


def _why_not(torch: Any, device: Device) -> str:
    """Why torch cannot use `device`, and what to do."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install a CUDA build of torch"
    cause = explain_cuda(device, torch.version.cuda)
    return cause or f"torch {torch.__version__} does not say why; see torch.cuda.init()"
