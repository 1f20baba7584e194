"""How much of the machine a container leaves to this process: control groups of Linux, v1 and v2.

The files of a control group show what its parents allow only in part, so all groups from the
process's own up to the root of the mount are read, and the tightest limit counts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def cpu_quota(root: Path = _ROOT) -> float | None:
    """CPUs' worth of time that this process may use, such as 1.5; None where nothing limits it.

    Args:
        root: where /proc and /sys are, for tests.
    """
    quotas = [
        quota
        for version, folder in _groups("cpu", root)
        if (quota := _quota_v2(folder) if version == 2 else _quota_v1(folder)) is not None
    ]
    return min(quotas, default=None)


def thread_limit(root: Path = _ROOT) -> int | None:
    """Threads that a CPU quota leaves work for, rounded up as by Java, .NET and Go.

    None where there is no quota, or one of at least all CPUs that this process may run on: then
    libraries choose well by themselves. Whole threads beyond the quota are stopped in the middle of
    their work, while the others wait for them; rounded down, a part of a CPU would never be used.
    """
    quota = cpu_quota(root)
    threads = None if quota is None else max(1, math.ceil(quota))
    return None if threads is None or threads >= usable_cpus() else threads


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_limit(root: Path = _ROOT) -> int | None:
    """Bytes of memory that this process may have: of its containers, or of the machine.

    None where the system does not say.
    """
    limits = [
        limit
        for version, folder in _groups("memory", root)
        if (limit := _number(folder / _MEMORY_FILES[version])) is not None
    ]
    machine = _machine_memory(root)
    return min([*limits, *([] if machine is None else [machine])], default=None)


_MEMORY_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}


def _groups(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of the control groups that hold this process, inmost first."""
    paths = _own_paths(root)
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        version = 2 if kind[0] == "cgroup2" else 1
        if version == 1 and controller not in kind[2].split(","):
            continue
        path = paths.get("" if version == 2 else controller)
        if path is None:
            continue
        mount = root / fields[4].lstrip("/")
        # Within a container the mount begins at the container's own group, under its outer name.
        inner = path.removeprefix(fields[3]) if path.startswith(fields[3]) else "/"
        folder = mount / inner.strip("/")
        yield from ((version, each) for each in _upwards(folder, mount))


def _own_paths(root: Path) -> dict[str, str]:
    """Controller -> path of this process's group; "" stands for version 2."""
    paths: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        paths |= dict.fromkeys(controllers.split(","), path)
    return paths


def _upwards(folder: Path, mount: Path) -> Iterator[Path]:
    while folder != mount and mount in folder.parents:
        yield folder
        folder = folder.parent
    yield mount


def _quota_v2(folder: Path) -> float | None:
    """Of a `cpu.max`: "QUOTA PERIOD" in microseconds, QUOTA may be "max"."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None
    return _ratio(int(words[0]), int(words[1]))


def _quota_v1(folder: Path) -> float | None:
    """Of `cpu.cfs_quota_us`, which is -1 without one, and `cpu.cfs_period_us`."""
    quota, period = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return None if quota is None or period is None else _ratio(quota, period)


def _ratio(quota: int, period: int) -> float | None:
    return quota / period if quota > 0 and period > 0 else None


def _machine_memory(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdecimal():
            return int(words[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    """The one natural number in a file; None for "max", "-1" or no file."""
    text = " ".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
