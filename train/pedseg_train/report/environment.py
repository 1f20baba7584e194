"""What a run ran on, in a few lines; no host, user or path is named."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata
from pathlib import Path

import torch

LIBRARIES = ("pedseg", "torch", "torchvision", "numpy")


def environment() -> dict[str, str]:
    """Name -> value, for a reader."""
    facts = {"processor": _processor(), "system": f"{platform.system()} {platform.machine()}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        facts[f"GPU {index}"] = f"{properties.name}, {memory:.0f} GiB"
    facts["Python"] = platform.python_version()
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts[name] = metadata.version(name)
    return facts


def _processor() -> str:
    """The processor's name, which the kernel knows where `platform` does not, and its cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
