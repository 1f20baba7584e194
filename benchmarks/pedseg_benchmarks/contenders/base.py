"""What every contender is to the harness, and the device that all of them share."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import PedsegError

Image = NDArray[np.uint8]
EAGER = "eager"


class NotRunError(PedsegError):
    """A contender is not available here: a library, a compiler or an operator is missing."""


class ContenderModel(Protocol):
    """A contender that is ready to run."""

    @property
    def provider(self) -> str:
        """What really runs it, e.g. `torch:cpu` or `CUDAExecutionProvider`."""

    @property
    def format(self) -> str:
        """`torch`, `onnx`, `torchscript`, `pt2` or `stock-onnx`."""

    @property
    def precision(self) -> str:
        """`fp32`, or what its networks compute in."""

    @property
    def placement(self) -> Mapping[str, int] | None:
        """Provider -> number of nodes; None where it is unknown."""

    @property
    def path(self) -> Path:
        """The file that it runs."""

    @property
    def max_batch(self) -> int | None:
        """Most images per call; None for any number."""

    @property
    def compile_seconds(self) -> float | None:
        """Of the calls in which a compiler ran so far; None where there is none."""

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """The timed work, on images uint8 [H, W, 3] RGB in one call; one entry per image."""

    def close(self) -> None:
        """Let go of the model and its memory."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A contender before it is loaded. It can be pickled if `load` can.

    Attributes:
        name: unique in one benchmark; `eager`, a name of `registry.OPTIONAL`, or of an artifact.
        load: loads it; may raise a `PedsegError`.
        optional: whether the benchmark goes on without it, with the reason, if it is not available.
    """

    name: str
    load: Callable[[], ContenderModel]
    optional: bool = False


class Device(Protocol):
    """What the harness needs to know of the device that all contenders share."""

    def synchronise(self) -> None:
        """Return once everything that was handed to the device is done."""

    def mark(self) -> Any:
        """A point in the device's own time, to be given to `elapsed`; None without such a clock."""

    def elapsed(self, start: Any, end: Any) -> float | None:
        """Seconds between two marks by the device's clock, after `synchronise`."""

    def reset_peak_memory(self) -> None:
        """Start a new measurement of the highest memory use."""

    def peak_memory(self) -> int | None:
        """Bytes at the highest since the reset; None where it cannot be known."""


class TorchDevice:
    """The device that all contenders share, as torch knows it.

    onnxruntime's run returns when the results are on the host, so that a synchronise that is meant
    for torch costs it nothing; what it allocates is not seen by torch.
    """

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device) if device.startswith("cuda") else None
        # Chosen once: the timed region must not spend its time deciding.
        self.synchronise: Callable[[], None] = _nothing if self._cuda is None else self._wait
        self.mark: Callable[[], Any] = _nothing if self._cuda is None else self._event

    def elapsed(self, start: Any, end: Any) -> float | None:
        """Seconds between two CUDA events; None on the CPU."""
        return None if start is None or end is None else start.elapsed_time(end) / 1e3

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

    def _event(self) -> torch.cuda.Event:
        """An event on the current stream, which is idle: the harness synchronises around calls."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._cuda))
        return event


def _nothing() -> None:
    """A CPU is done when the call returns."""
