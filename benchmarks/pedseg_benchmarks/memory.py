"""How much memory a process has had; imported where torch must not be."""

from __future__ import annotations

import sys


def process_peak_rss() -> int | None:
    """Most bytes of this process that were ever resident; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
