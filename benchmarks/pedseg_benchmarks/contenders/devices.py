"""The device that contenders run on, as the harness has to know it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Protocol

import torch


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
