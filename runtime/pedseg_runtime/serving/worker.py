"""A thread that belongs to an object and never outlives its use."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable


class Worker:
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
        """Wait until the thread has ended; whoever calls this has told it to."""
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
