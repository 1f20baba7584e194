"""The processes of a training, one or as many as torchrun started, and the request to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pedseg_runtime.errors import DeviceError, PedsegError, TrainingError, first_line

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(TrainingError):
    """A training that was asked to stop and has saved its state."""


class StopRequest:
    """Whether the training is to stop.

    Attributes:
        by: the name of the signal, None without a request.
    """

    def __init__(self) -> None:
        self.by: str | None = None

    def __bool__(self) -> bool:
        return self.by is not None

    @contextlib.contextmanager
    def listening(self, notify: Callable[[str], object]) -> Iterator[None]:
        """Take SIGTERM and SIGINT as requests; a second one ends the process as usual.

        Signals reach the main thread only; elsewhere nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def asked(number: int, _frame: FrameType | None) -> None:
            self.by = signal.Signals(number).name
            restore()
            notify(f"{self.by}: stopping after this step; once more to stop at once")

        for number in SIGNALS:
            signal.signal(number, asked)
        try:
            yield
        finally:
            restore()


Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Processes:
    """Which process this is, of how many; what they tell each other.

    Attributes:
        rank: of this process, counted from 0; the first writes files and speaks.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model as it must be called in training, so that gradients are averaged."""
        if self.world == 1:
            return model
        return DistributedDataParallel(model, [device] if device.type == "cuda" else None)

    def later(self, wrapped: nn.Module) -> contextlib.AbstractContextManager[None]:
        """A block whose gradients are kept for the next exchange."""
        if isinstance(wrapped, DistributedDataParallel):
            return wrapped.no_sync()
        return contextlib.nullcontext()

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def gathered(self, value: Value) -> list[Value]:
        """Every process's value, in the order of ranks."""
        if self.world == 1:
            return [value]
        values: list[Value | None] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def from_first(self, compute: Callable[[], Value]) -> Value:
        """What `compute` gives in the first process; an error of pedseg there is raised in all."""
        if self.world == 1:
            return compute()
        answer: list[tuple[Value | None, Exception | None]] = [(None, None)]
        if self.first:
            try:
                answer[0] = (compute(), None)
            except (PedsegError, OSError) as error:
                answer[0] = (None, error)
        distributed.broadcast_object_list(answer)
        value, problem = answer[0]
        if problem is not None:
            raise problem
        return value  # type: ignore[return-value]


def local_device(device: torch.device) -> torch.device:
    """The device of this process: under torchrun, each has a GPU of its own."""
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    index = int(os.environ["LOCAL_RANK"])
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"expected a GPU for each process of torchrun, found {torch.cuda.device_count()} for "
            f"local process {index}; lower --nproc-per-node, or use --device cpu"
        )
    return torch.device("cuda", index)


@contextlib.contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the other processes that torchrun has started; alone without it.

    Args:
        device: of this process; CUDA talks by NCCL, the CPU by gloo.

    Raises:
        TrainingError: the others could not be reached.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as error:
        raise TrainingError(
            f"expected to reach the {world} processes that WORLD_SIZE announces, found "
            f"{first_line(error)}; start pedseg-train by torchrun"
        ) from error
    try:
        yield Processes(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
