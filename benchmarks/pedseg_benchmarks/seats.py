"""Where a contender sits while it is measured: in this process, or in one of its own.

What is to be done with it is a function that gets the `Place` where it lives, so that the same
function runs, and takes its times, on either side of a process border.
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

from pedseg_runtime.errors import PedsegError
from pedseg_train.eager import float32_only

from .contenders import Contender, Loaded, NotRunError
from .contenders.devices import Device, TorchDevice
from .environment import torch_threads
from .memory import process_peak_rss

Result = TypeVar("Result")
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Place:
    """A loaded contender, its device and the clock beside it."""

    loaded: Loaded
    device: Device
    clock: Clock


@dataclass(frozen=True, slots=True)
class Facts:
    """What a loaded contender says of itself, see `Loaded`."""

    format: str
    precision: str
    provider: str
    placement: Mapping[str, int] | None
    path: Path
    max_batch: int | None


class Seat(Protocol):
    """A contender that is loaded, wherever it lives.

    Attributes:
        facts: what it says of itself.
        load_seconds: from file to ready.
        isolated: whether it has a process of its own.
    """

    facts: Facts
    load_seconds: float
    isolated: bool

    def do(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """`work(place, *arguments)` where the contender lives."""

    def close(self) -> None:
        """Let go of the contender."""


class LocalSeat:
    """A contender in this process."""

    isolated = False

    def __init__(
        self, contender: Contender, device: Device, clock: Clock = time.perf_counter
    ) -> None:
        self._place, self.load_seconds = _load(contender, device, clock)
        self.facts = _facts(self._place)

    def do(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Call `work` here."""
        return work(self._place, *arguments)

    def close(self) -> None:
        """Close the contender."""
        self._place.loaded.close()


class IsolatedSeat:
    """A contender in a process of its own, so that nobody's threads or memory disturb it.

    It works only while `do` waits for it: the parent hands out the turns.
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
            self.facts, self.load_seconds = self._answer()
        except BaseException:
            self.close()
            raise

    def do(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Call `work` there; its function, arguments and result must be picklable."""
        self._connection.send((work, arguments))
        result: Result = self._answer()
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

    def _answer(self) -> Any:
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


def peak_rss(_place: Place) -> int | None:
    """Work for a seat: most bytes of its process that were ever in memory."""
    return process_peak_rss()


def _load(contender: Contender, device: Device, clock: Clock) -> tuple[Place, float]:
    device.reset_peak_memory()
    start = clock()
    loaded = contender.load()
    device.synchronise()
    return Place(loaded, device, clock), clock() - start


def _facts(place: Place) -> Facts:
    loaded = place.loaded
    return Facts(
        format=loaded.format,
        precision=loaded.precision,
        provider=loaded.provider,
        placement=loaded.placement,
        path=loaded.path,
        max_batch=loaded.max_batch,
    )


def _serve(connection: Connection, contender: Contender, device: str, threads: int) -> None:
    """What the child does: load, answer, and do what it is told until it is told nothing."""
    with float32_only(), torch_threads(threads):
        try:
            place, seconds = _load(contender, TorchDevice(device), time.perf_counter)
        except Exception as error:
            connection.send((None, _portable(error)))
            return
        connection.send(((_facts(place), seconds), None))
        while (message := connection.recv()) is not None:
            work, arguments = message
            answer: tuple[Any, Exception | None]
            try:
                answer = work(place, *arguments), None
            except Exception as error:
                answer = None, _portable(error)
            connection.send(answer)
        place.loaded.close()


def _portable(error: Exception) -> Exception:
    """The error itself if it survives the way to another process, else its words."""
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(error))
        return error
    return PedsegError(f"{type(error).__name__}: {error}")
