"""When the memory of a run is given back, rather than kept for the next one."""

from __future__ import annotations

import threading
from collections import deque

DEFAULT_MAX_BATCH_PIXELS = 2**24
"""Pixels of all images in one run, unless a single image has more: eight of 1920x1080.

A run on the CPU takes about 28 bytes for each of them, 450 MB for all, see docs/embedding.md.
"""

_SMALL = 2**20  # pixels; not worth giving back
_RECENT = 4  # runs that tell what is usual
_UNUSUAL = 2  # times as many pixels as usual


class MemoryRelease:
    """Decides run by run; safe to use from several threads.

    Giving memory back takes time: the next run has to ask the system for it again (12 megapixels
    take 2.6 times as long on two CPU cores). So a run keeps its memory if such runs are usual, and
    gives it back if it is unusually large, or if large ones are no longer usual.

    Args:
        most: runs of more pixels always give their memory back; None sets no such limit.
        always: so do all other runs.
        adapts: judge a run by those before it too. Batches of varying length on a GPU would
            pass for unusual ones again and again.
    """

    def __init__(self, most: int | None, *, always: bool = False, adapts: bool = True) -> None:
        self._most, self._always, self._adapts = most, always, adapts
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._kept = 0  # pixels whose memory is held
        self._lock = threading.Lock()

    def after(self, pixels: int) -> bool:
        """Whether a run of so many pixels, which is about to start, shall give its memory back."""
        with self._lock:
            usual = max(self._recent, default=0)
            self._recent.append(pixels)
            self._kept = max(self._kept, pixels)
            recent = max(self._recent)
            release = (
                self._always
                or (self._most is not None and pixels > self._most)
                or (self._adapts and pixels > max(_SMALL, _UNUSUAL * usual))
                or (self._adapts and self._kept > max(_SMALL, _UNUSUAL * recent))
            )
            if release:
                self._kept = 0
            return release
