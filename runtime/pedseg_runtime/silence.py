"""Silence in one thread: Pillow warns of odd metadata, which the caller of a service cannot mend.

`warnings.catch_warnings` swaps the filters of the whole process, and a lock of our own does not
keep others out: of two threads inside it, one may leave the other's filters in force for good.
Besides, each use makes Python show once more, elsewhere, what it shows once per place. Here one
filter stands for good, and ignores what is warned of in a thread that is inside `silence`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_thread = threading.local()


class _SilentThread(type):
    """Makes every category of warnings belong to a class while the thread that asks is silent."""

    def __subclasscheck__(cls, category: type) -> bool:
        return getattr(_thread, "is_silent", False)


class _Silenced(Warning, metaclass=_SilentThread):
    """The category that the filter ignores."""


@contextmanager
def silence() -> Iterator[None]:
    """Ignore all warnings of this thread, and of no other; it does not nest."""
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[2] is not _Silenced:  # at first, or when others changed the filters
        warnings.simplefilter("ignore", _Silenced)
    _thread.is_silent = True
    try:
        yield
    finally:
        _thread.is_silent = False
