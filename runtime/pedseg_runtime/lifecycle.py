"""How long-lived objects end: `with` blocks, background threads and forked processes.

A fork copies the memory of a process and only the one thread that forks. The pools of onnxruntime
and torch then wait for threads that do not exist: a run hangs, and so does freeing the model, which
would happen at the end of the process at the latest. So a forked child uses nothing it inherited.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from .errors import InputError


class Closeable(ABC):
    """A context manager that closes itself, also when the block raises; it cannot be pickled."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held; closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise InputError(
            f"{name}: expected to stay in the process that made it, found it to be copied or "
            "pickled; send the path and load it there"
        )


class ForkAware(Protocol):
    """An object that a forked child inherits and must not use."""

    def _after_fork(self) -> None:
        """Called in the child, before any other code of it runs."""


_fork_aware: weakref.WeakSet[Any] = weakref.WeakSet()


def call_after_fork(item: ForkAware) -> None:
    """Call `_after_fork` of this object in every child that this process forks."""
    _fork_aware.add(item)


def keep_until_exit(item: object) -> None:
    """Keep `item` in memory until the process is gone, also when the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))


def _after_fork() -> None:
    for item in list(_fork_aware):
        item._after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_after_fork)


class WorkerThread:
    """A thread that works for `owner` until it is told to stop.

    It is a daemon, so that a process which forgets to stop it can end; but a thread that dies
    inside onnxruntime takes the process down with it, so it is stopped and waited for when its
    owner is collected, and at the end of the interpreter at the latest.
    """

    def __init__(
        self, owner: object, name: str, *, work: Callable[[], None], stop: Callable[[], None]
    ) -> None:
        """Start the thread.

        Args:
            owner: `work` and `stop` must not refer to it, or it would never be collected.
            name: of the thread.
            work: what the thread runs, once.
            stop: makes `work` return soon; called in another thread.
        """
        self._thread = threading.Thread(target=work, name=name, daemon=True)
        self._finalizer = weakref.finalize(owner, _end, self._thread, stop)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended; it must have been told to stop."""
        self._finalizer.detach()
        _join(self._thread)

    def abandon(self) -> None:
        """Forget the thread: this is a forked process, which has no other threads."""
        self._finalizer.detach()


def _end(thread: threading.Thread, stop: Callable[[], None]) -> None:
    stop()
    _join(thread)


def _join(thread: threading.Thread) -> None:
    """Wait for `thread`, unless it is the one that asks: then it ends after this."""
    if thread is not threading.current_thread():
        thread.join()
