"""The fingerprint of machine, libraries and settings that a benchmark was measured on.

It names no host, user or path, so that a report can be published as it is.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from pedseg_runtime._version import __version__
from pedseg_runtime.backends.sessions import cuda_options
from pedseg_runtime.containers import usable_cpus

LIBRARIES = ("torchvision", "numpy", "onnx", "pillow", "openvino")
LOOK_SECONDS = 0.3
GPU_QUERY = "name,driver_version,clocks.sm,clocks.max.sm,power.limit,temperature.gpu"


def fingerprint(*, threads: int, gpu: int = 0) -> dict[str, Any]:
    """Describe this machine and process as plain JSON values; unknown facts are None.

    Args:
        threads: CPU threads that every contender was given.
        gpu: index of the GPU to describe, if there is any.
    """
    return {
        "cpu": {
            "model": _cpu_model(),
            "architecture": platform.machine(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "logical_cores": os.cpu_count(),
            "usable_cores": usable_cpus(),
            "load_average": _load_average(),
            "busy_cores": _busy_cores(),
            "mhz": _cpu_clock(),
        },
        "memory_gib": _memory_gib(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": {
            "pedseg": __version__,
            **{name: _version(name) for name in LIBRARIES},
            "torch": str(torch.__version__),
            "onnxruntime": onnxruntime.__version__,
            "cuda_of_torch": torch.version.cuda,
            "cuda_of_onnxruntime": getattr(onnxruntime, "cuda_version", None) or None,
        },
        "threads": {"torch": torch.get_num_threads(), "onnxruntime": threads},
        "tf32": {
            "torch_matmul": bool(torch.backends.cuda.matmul.allow_tf32),
            "torch_cudnn": bool(torch.backends.cudnn.allow_tf32),
            "onnxruntime": cuda_options("fp32")["use_tf32"] != "0",
        },
        "gpu": _gpu(gpu),
        "onnxruntime_providers": onnxruntime.get_available_providers(),
    }


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch `count` CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu_model() -> str | None:
    """The processor's name; the kernel knows it where `platform` does not."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or None


def _cpu_clock() -> float | None:
    """The fastest core's clock at this moment, in MHz; None where the kernel does not say."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        clocks = [float(line.split(":", 1)[1]) for line in lines if line.startswith("cpu MHz")]
        return max(clocks, default=None)
    return None


def _load_average() -> list[float] | None:
    """Runnable processes over the last 1, 5 and 15 minutes: how busy the machine was."""
    with contextlib.suppress(OSError, AttributeError):
        return [round(value, 2) for value in os.getloadavg()]
    return None


def _busy_cores() -> float | None:
    """Usable cores' worth of work that others do while this process sleeps; a host's theft too.

    The load average also remembers what the caller itself did in the last minute.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        before = _ticks()
        time.sleep(LOOK_SECONDS)
        after = _ticks()
        shares = []
        for core in before.keys() & after.keys():
            total, idle = (now - then for now, then in zip(after[core], before[core], strict=True))
            shares.append(max(0.0, 1 - idle / total) if total else 0.0)
        return round(sum(shares), 2)
    return None


def _ticks() -> dict[str, tuple[int, int]]:
    """Clock ticks since the machine's start of every usable core: in all, and spent idle."""
    usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    found = {}
    for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines():
        core, *words = line.split()
        if core in usable:
            ticks = [int(word) for word in words[:8]]  # the last two are part of the first two
            found[core] = sum(ticks), ticks[3] + ticks[4]
    return found


def _memory_gib() -> float | None:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpu(index: int) -> dict[str, Any] | None:
    """What torch and nvidia-smi say of a GPU; None where neither sees it."""
    found: dict[str, Any] = {}
    if torch.cuda.device_count() > index:
        properties = torch.cuda.get_device_properties(index)
        found["name"] = properties.name
        found["compute_capability"] = f"{properties.major}.{properties.minor}"
        found["memory_gib"] = round(properties.total_memory / 2**30, 1)
        found["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    found.update(_nvidia_smi(index))
    return found or None


def _nvidia_smi(index: int) -> dict[str, str]:
    """The driver's own words on a GPU; empty where there is no nvidia-smi or no GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, f"--query-gpu={GPU_QUERY}", "--format=csv,noheader", f"--id={index}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in answer.stdout.strip().split(",")]
    names = GPU_QUERY.split(",")
    return dict(zip(names, values, strict=True)) if len(values) == len(names) else {}
