"""Silence in one thread: Pillow warns of odd metadata, which the caller of a service cannot mend.

`warnings.catch_warnings` swaps the filters of the whole process. Of two threads inside it, one may
leave the filters of the other in force for good, and each exit makes Python show once more what it
shows once. Here one filter stands, and ignores what is warned of in a thread inside `silence`.
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
