"""Being asked to stop: the step in hand is finished, the state saved, then the run ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from pedseg_runtime.errors import TrainingError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(TrainingError):
    """A training that was asked to stop and has saved its state."""


class StopRequest:
    """Whether somebody wants the training to stop.

    Attributes:
        by: the name of the signal, None as long as nobody asked.
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
