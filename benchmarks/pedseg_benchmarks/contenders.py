"""Who is compared: torchvision's eager model and exported artifacts, behind one interface."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError
from pedseg_runtime.manifest import Manifest
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.checkpoint import load_checkpoint
from pedseg_train.eager import EagerSegmenter

from .harness import Image

EAGER = "eager"


class Loaded(Protocol):
    """A contender that is ready to run.

    Attributes:
        provider: what really runs it, e.g. `torch:cpu` or `CUDAExecutionProvider`.
        format: `eager`, `onnx` or `torchscript`.
        precision: `fp32`.
    """

    provider: str
    format: str
    precision: str

    def infer(self, image: Image) -> Detections:
        """The timed work, on one image uint8 [H, W, 3] RGB."""

    def close(self) -> None:
        """Let go of the model and its memory."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A contender before it is loaded.

    Attributes:
        name: unique in one benchmark; `eager` or the artifact's file name.
        path: the file it is loaded from.
        load: loads it; may raise a `PedsegError`.
    """

    name: str
    path: Path
    load: Callable[[], Loaded]


class Eager:
    """The checkpoint run by torchvision's own forward, which pastes its masks in any case."""

    format = EAGER
    precision = "fp32"

    def __init__(self, checkpoint: Path, *, device: str) -> None:
        loaded = load_checkpoint(checkpoint)
        self._segment: EagerSegmenter | None = EagerSegmenter(
            loaded.model, class_names=loaded.header.class_names, device=device
        )
        self.provider: str = self._segment.provider

    def infer(self, image: Image) -> Detections:
        """Detect in one image; the masks in image pixels are part of torchvision's forward."""
        if self._segment is None:
            raise InputError("eager: expected an open contender, found it closed")
        return self._segment(image)

    def close(self) -> None:
        """Let go of the model and its memory."""
        self._segment = None
        gc.collect()


class Artifact:
    """An exported file, run the way a service would run it.

    Attributes:
        manifest: what the file says of itself.
    """

    def __init__(self, path: Path, *, device: str, threads: int, paste: bool) -> None:
        """Load the artifact.

        Args:
            path: an ONNX or TorchScript artifact.
            device: "cpu", "cuda" or "cuda:N".
            threads: CPU threads for one run.
            paste: whether `infer` also pastes the masks into image pixels, as eager does.
        """
        # Without the self-test, which would warm up what the first call is to measure.
        self._segmenter = Segmenter.load(path, device=device, threads=threads, self_test=False)
        self._paste = paste
        self.manifest: Manifest = self._segmenter.manifest
        self.provider: str = self._segmenter.provider
        self.format: str = self.manifest.format
        self.precision: str = self.manifest.precision

    def infer(self, image: Image) -> Detections:
        """Detect in one image, and paste the masks if asked for."""
        detections = self._segmenter(image)
        if self._paste:
            detections.masks()
        return detections

    def close(self) -> None:
        """Let go of the model and its memory."""
        self._segmenter.close()
        gc.collect()


class TorchDevice:
    """The device that all contenders share, as torch knows it.

    onnxruntime's run returns when the results are on the host, so that a synchronise that is meant
    for torch costs it nothing; what it allocates is not seen by torch.
    """

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device) if device.startswith("cuda") else None
        # Chosen once: the timed region must not spend its time deciding.
        self.synchronise: Callable[[], None] = _nothing if self._cuda is None else self._wait

    def reset_peak_memory(self) -> None:
        """Start a new measurement of the highest memory use."""
        if self._cuda is not None:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._cuda)

    def peak_memory(self) -> int | None:
        """Bytes that torch's tensors held at the highest; None on the CPU."""
        return None if self._cuda is None else torch.cuda.max_memory_allocated(self._cuda)

    def _wait(self) -> None:
        torch.cuda.synchronize(self._cuda)


def artifact_names(paths: Sequence[Path]) -> list[str]:
    """A distinct name per artifact: the file name, with its folder where two share one."""
    names = [path.name for path in paths]
    return [
        f"{path.parent.name}/{path.name}" if names.count(path.name) > 1 else path.name
        for path in paths
    ]


def _nothing() -> None:
    """A CPU is done when the call returns."""
