"""Workers: where a contender runs while it is measured, in this process or in one of its own.

What is measured is a function of the worker's `WorkerContext`, so that the same function runs, and
takes its times, on either side of a process border.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from pedseg_runtime.backends.float32 import float32_only
from pedseg_runtime.errors import PedsegError

from .contenders import Contender, ContenderModel, NotRunError
from .contenders.base import Device, TorchDevice
from .environment import torch_threads
from .memory import process_peak_rss

Result = TypeVar("Result")
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """A loaded contender, its device and the clock beside it."""

    model: ContenderModel
    device: Device
    clock: Clock


@dataclass(frozen=True, slots=True)
class ContenderInfo:
    """The properties of a loaded contender, see `ContenderModel`."""

    format: str
    precision: str
    provider: str
    placement: Mapping[str, int] | None
    path: Path
    max_batch: int | None


class Worker(Protocol):
    """A loaded contender, in whichever process.

    Attributes:
        info: properties of the contender.
        load_seconds: from file to ready.
        isolated: whether it has a process of its own.
    """

    info: ContenderInfo
    load_seconds: float
    isolated: bool

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """`function(context, *arguments)` in the contender's process."""

    def close(self) -> None:
        """Free the contender."""


class LocalWorker:
    """A contender in this process."""

    isolated = False

    def __init__(
        self, contender: Contender, device: Device, clock: Clock = time.perf_counter
    ) -> None:
        self._context, self.load_seconds = _load(contender, device, clock)
        self.info = _info(self._context)

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call `function` here."""
        return function(self._context, *arguments)

    def close(self) -> None:
        """Close the contender."""
        self._context.model.close()


class IsolatedWorker:
    """A contender in a process of its own, so that no other's threads or memory disturb it.

    It works only while `run` waits for it: the parent hands out the turns.
    """

    isolated = True

    def __init__(self, contender: Contender, *, device: str, threads: int) -> None:
        """Start the process and load the contender there.

        Args:
            contender: one that can be pickled.
            device: what to synchronise around its calls: "cpu", "cuda" or "cuda:N".
            threads: CPU threads for torch.
        """
        context = multiprocessing.get_context("spawn")
        self._name = contender.name
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, contender, device, threads), daemon=True
        )
        self._process.start()
        other.close()
        try:
            self.info, self.load_seconds = self._receive()
        except BaseException:
            self.close()
            raise

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call `function` there; function, arguments and result must be picklable."""
        self._connection.send((function, arguments))
        result: Result = self._receive()
        return result

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _receive(self) -> Any:
        try:
            result, error = self._connection.recv()
        except (EOFError, ConnectionResetError) as ended:
            self._process.join(timeout=10)
            raise NotRunError(
                f"{self._name}: its process ended with exit code {self._process.exitcode}; run it "
                "alone with pedseg-predict to see why"
            ) from ended
        if error is not None:
            raise error
        return result


def peak_rss(_context: WorkerContext) -> int | None:
    """Runs in a worker: most bytes of its process that were ever in memory."""
    return process_peak_rss()


def _load(contender: Contender, device: Device, clock: Clock) -> tuple[WorkerContext, float]:
    device.reset_peak_memory()
    start = clock()
    model = contender.load()
    device.synchronise()
    return WorkerContext(model, device, clock), clock() - start


def _info(context: WorkerContext) -> ContenderInfo:
    model = context.model
    return ContenderInfo(
        format=model.format,
        precision=model.precision,
        provider=model.provider,
        placement=model.placement,
        path=model.path,
        max_batch=model.max_batch,
    )


def _serve(connection: Connection, contender: Contender, device: str, threads: int) -> None:
    """The child's loop: load, report, and run functions until `None` comes."""
    with float32_only(torch), torch_threads(threads):
        try:
            context, seconds = _load(contender, TorchDevice(device), time.perf_counter)
        except Exception as error:
            connection.send((None, _portable(error)))
            return
        connection.send(((_info(context), seconds), None))
        while (message := connection.recv()) is not None:
            function, arguments = message
            reply: tuple[Any, Exception | None]
            try:
                reply = function(context, *arguments), None
            except Exception as error:
                reply = None, _portable(error)
            connection.send(reply)
        context.model.close()


def _portable(error: Exception) -> Exception:
    """The error itself if it can be pickled and read back, else one with its text."""
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(error))
        return error
    return PedsegError(f"{type(error).__name__}: {error}")
