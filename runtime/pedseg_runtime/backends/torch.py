"""Artifacts of torch, TorchScript and pt2: the one module that imports torch, and only by name.

`pedseg::suppress` is the one operator of pt2 artifacts that is not torch's or torchvision's. Greedy
NMS row by row has no operator there: torchvision's `batched_nms` branches on data, which
`torch.export` cannot follow. The runtime imports no torch, so the caller passes the module.

Annotations are evaluated here (no `from __future__ import annotations`): TorchScript compiles
`suppress_rows` and finds no names inside strings.
"""

import importlib
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact.reading import Artifact
from ..artifact.tensors import Outputs
from ..devices import Device, explain_cuda, probe_driver
from ..errors import ArtifactError, DeviceError
from .base import MemoryRelease, Placement, Resources, logger, one_line, run_failure
from .float32 import float32_only

NAME = "pedseg::suppress"
SCHEMA = "(Tensor boxes, Tensor scores, float iou_threshold, float floor) -> Tensor"


class TorchScriptBackend:
    """A TorchScript artifact in this process's torch.

    `run` may be called from several threads at once. That is safe and does not make it faster.
    Torch has no settings per model: `threads` and `gpu_mem_limit` hold for the whole process, and
    so does TF32, which is off on CUDA while a float32 artifact runs.

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
        self._release = MemoryRelease(
            resources.max_batch_pixels, always=resources.shrink_memory, adapts=False
        )
        self._on_cuda = chosen.kind == "cuda"
        # TF32 would move scores and masks of a float32 artifact beyond the limits of its parity.
        self._needs_float32 = self._on_cuda and artifact.manifest.precision == "fp32"
        self.library = f"torch {self._torch.__version__}"
        self.provider = f"torch:{self._device}"
        self.threads = resources.threads_on_cpu()
        if self.threads is not None:
            self._torch.set_num_threads(self.threads)
        if resources.gpu_mem_limit is not None and chosen.kind == "cuda":
            memory = self._torch.cuda.get_device_properties(chosen.index).total_memory
            share = min(1.0, resources.gpu_mem_limit / memory)
            self._torch.cuda.set_per_process_memory_fraction(share, chosen.index)
        self.module: Any = self._load(artifact.path)

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Segment uint8 [N, H, W, 3] RGB; see `Backend.run`.

        The optimising executor is off (per thread, without effect on others): it compiles the graph
        anew in the first calls and for later shapes, and no call was faster for it (a toy detector
        on 2 CPU cores: first calls 80 and 39 ms with it, 12 and 5 ms without, then 5 to 6 ms both).
        """
        torch, module = self._torch, self.module
        writable = np.require(images, requirements="W")  # torch knows no other, and would warn
        count, height, width = images.shape[:3]
        releases = self._release.after(count * height * width)
        try:
            with (
                float32_only(torch) if self._needs_float32 else nullcontext(),
                torch.inference_mode(),
                torch.jit.optimized_execution(False),
            ):
                outputs = module(torch.from_numpy(writable).to(self._device))
                return tuple(output.cpu().numpy() for output in outputs)
        except (RuntimeError, MemoryError) as error:
            raise run_failure(self.artifact.path, self.provider, error, images.shape) from error
        finally:
            if releases and self._on_cuda:  # on the CPU torch keeps nothing
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


class Pt2Backend(TorchScriptBackend):
    """An exported program in this process's torch; runs and closes as TorchScript does."""

    def _load(self, path: Path) -> Any:
        """The program as a module on the device.

        torch names this format unstable between versions, so the message tells both.
        """
        torch = self._torch
        register_suppression(torch)
        try:
            with warnings.catch_warnings(), path.open("rb") as stream:
                warnings.simplefilter("ignore")  # of deserialising: nothing a user could act on
                program = torch.export.load(stream)
                if self._device != "cpu":
                    move = torch.export.passes.move_to_device_pass
                    program = move(program, self._device)
                return program.module()
        except Exception as error:  # torch's deserialiser fails in any way it can
            exported_by = self.artifact.manifest.versions.get("torch", "an unknown version")
            raise ArtifactError(
                f"{path}: expected an exported program that torch {torch.__version__} can load, "
                f"found {one_line(error)}; it was exported by torch {exported_by}: use that one, "
                "or export the checkpoint again with pedseg-export"
            ) from error


def suppression_by(torch: Any) -> Callable[..., Any]:
    """NMS over rows, as a function that `torch.jit.script` can compile.

    The annotations are evaluated, hence no `from __future__ import annotations` above: TorchScript
    finds no names inside strings.
    """

    def suppress_rows(
        boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, floor: float
    ) -> torch.Tensor:
        """Greedy NMS in each row on its own, by `torchvision.ops.nms`.

        Args:
            boxes: float32 [B, P, 4], x1 y1 x2 y2.
            scores: float32 [B, P].
            iou_threshold: boxes that overlap a better one by more than this are suppressed.
            floor: entries with a score of at most `floor` take no part and are suppressed.

        Returns:
            float32 [B, P]: the score where a box survives, -1 elsewhere.
        """
        kept = torch.full_like(scores, -1.0)
        for row in range(scores.shape[0]):
            candidates = torch.nonzero(scores[row] > floor).squeeze(1)
            survivors = candidates[
                torch.ops.torchvision.nms(
                    boxes[row][candidates], scores[row][candidates], iou_threshold
                )
            ]
            kept[row, survivors] = scores[row][survivors]
        return kept

    return suppress_rows


def register_suppression(torch: Any) -> None:
    """Make `pedseg::suppress` known to `torch`, once per process; torchvision must be imported."""
    if hasattr(torch.ops.pedseg, "suppress"):
        return
    operator = torch.library.custom_op(NAME, suppression_by(torch), mutates_args=(), schema=SCHEMA)
    operator.register_fake(lambda _boxes, scores, *_thresholds: torch.empty_like(scores))


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
