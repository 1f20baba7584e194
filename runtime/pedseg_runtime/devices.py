"""Which device a user asked for, and why CUDA does not run when it should.

A GPU session that cannot start does not fail by itself: onnxruntime writes to standard error and
carries on with the CPU. The backends compare what runs with what was asked for; this module finds
the cause and the fix, by asking the driver and the dynamic loader directly.
"""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

KINDS = ("auto", "cpu", "cuda", "tensorrt", "openvino")
CUDA_EXTRA = "pip install 'pedseg[cuda]'"
OPENVINO_EXTRA = "pip install 'pedseg[openvino]'"
_OPENVINO_TARGETS = ("CPU", "GPU", "NPU")
_CUDNN = "cudnn64_9.dll" if sys.platform == "win32" else "libcudnn.so.9"
# What onnxruntime's TensorRT provider opens. The wheels of TensorRT keep them in a package that the
# dynamic loader does not search.
_TENSORRT = (
    ("nvinfer_10.dll", "nvonnxparser_10.dll")
    if sys.platform == "win32"
    else ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")
)
_TENSORRT_WHEEL = "tensorrt_libs"
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
# CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE
_VERSION_MISMATCH = (803, 804)


@dataclass(frozen=True, slots=True)
class Device:
    """A parsed device.

    Attributes:
        kind: one of `KINDS`.
        index: of the GPU, among those that are visible to CUDA.
        target: of OpenVINO: "CPU", "GPU", "GPU.1", "NPU"; empty for other kinds.
    """

    kind: str
    index: int = 0
    target: str = ""

    def __str__(self) -> str:
        if self.kind == "openvino":
            return f"{self.kind}:{self.target}"
        return f"{self.kind}:{self.index}" if self.kind in ("cuda", "tensorrt") else self.kind

    @property
    def beside(self) -> str:
        """The device for eager PyTorch that is to be compared: it runs by no engine."""
        engines = {"openvino": "cpu", "tensorrt": f"cuda:{self.index}"}
        return engines.get(self.kind, str(self))


def parse_device(name: str) -> Device:
    """Read "auto", "cpu", "cuda", "cuda:N", "tensorrt", "openvino" or "openvino:GPU".

    TensorRT takes a number as CUDA does. OpenVINO runs on its CPU device unless another is named:
    "openvino:CPU", "openvino:GPU", "openvino:GPU.N" or "openvino:NPU".

    Raises:
        InputError: any other name.
    """
    matched = re.fullmatch(
        r"(auto|cpu)|(cuda|tensorrt)(?::(\d{1,3}))?|openvino(?::(CPU|NPU|GPU(?:\.\d{1,3})?))?", name
    )
    if matched is None:
        known = (*KINDS, "cuda:0", *(f"openvino:{target}" for target in _OPENVINO_TARGETS))
        names = {each.lower(): each for each in known}
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f"; did you mean {names[close[0]]!r}?" if close else ""
        raise InputError(
            "device: expected auto, cpu, cuda, cuda:N, tensorrt, openvino or openvino:GPU, found "
            f"{name!r}{hint}"
        )
    simple, gpu, index, target = matched.groups()
    if simple:
        return Device(simple)
    return Device(gpu, int(index or 0)) if gpu else Device("openvino", target=target or "CPU")


@dataclass(frozen=True, slots=True)
class Driver:
    """What the NVIDIA driver says of itself.

    Attributes:
        devices: how many GPUs this process may use.
        cuda: newest CUDA version the driver supports, e.g. (13, 0); None without a driver.
        problem: why `devices` is 0, ending in what to do; empty otherwise.
    """

    devices: int
    cuda: tuple[int, int] | None
    problem: str = ""


def probe_driver() -> Driver:
    """Ask the NVIDIA driver for its version and its GPUs, without any CUDA library."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return Driver(
            0, None, f"no NVIDIA driver ({name} is not found); install one, or run on the CPU"
        )
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    cuda = (version.value // 1000, version.value % 1000 // 10)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status in _VERSION_MISMATCH:
        problem = f"the NVIDIA driver's parts do not match (error {status}); update it and reboot"
        return Driver(0, cuda, problem)
    if status not in (0, _NO_DEVICE):
        return Driver(0, cuda, f"the NVIDIA driver does not start (error {status}); see nvidia-smi")
    if count.value == 0:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = f"CUDA_VISIBLE_DEVICES is {visible!r}" if visible is not None else "see nvidia-smi"
        return Driver(0, cuda, f"the NVIDIA driver offers no GPU; {hint}")
    return Driver(count.value, cuda)


def explain_cuda(device: Device, built_for: str, driver: Driver | None = None) -> str | None:
    """Why a library built for CUDA `built_for` ("13.0", or "") cannot use `device`, and what to do.

    Returns:
        One clause "cause; fix", or None if driver, GPU and libraries all look usable.
    """
    driver = probe_driver() if driver is None else driver
    if driver.problem:
        return driver.problem
    if device.index >= driver.devices:
        return (
            f"of {driver.devices} GPU(s) the last is cuda:{driver.devices - 1}; choose a lower one"
        )
    if not built_for:
        return None
    needed = int(built_for.split(".")[0])
    if driver.cuda is not None and driver.cuda[0] < needed:
        found = ".".join(map(str, driver.cuda))
        return (
            f"the NVIDIA driver supports CUDA {found}, CUDA {needed} is needed; update the driver"
        )
    missing = [name for name in _cuda_libraries(needed) if not _loads(name)]
    if missing:
        others = [str(major) for major in range(11, 16) if _loads(_cublas(major))]
        found = f" (found CUDA {', '.join(others)})" if others and str(needed) not in others else ""
        return f"missing {', '.join(missing)} of CUDA {needed}{found}; {CUDA_EXTRA}"
    return None


def explain_tensorrt(device: Device, built_for: str) -> str | None:
    """Why TensorRT cannot use `device`, and what to do; see `explain_cuda`."""
    cause = explain_cuda(Device("cuda", device.index), built_for)
    missing = [name for name in _TENSORRT if not _loads(name)]
    if cause or not missing:
        return cause
    major = built_for.split(".")[0]
    return f"missing {', '.join(missing)}; pip install 'tensorrt-cu{major}<11', or use cuda"


def preload_tensorrt() -> None:
    """Open the libraries of TensorRT's wheels, if they are installed, as onnxruntime cannot."""
    spec = importlib.util.find_spec(_TENSORRT_WHEEL)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for name in _TENSORRT:
            with contextlib.suppress(OSError):  # `explain_tensorrt` says what is missing
                ctypes.CDLL(str(Path(folder, name)), mode=ctypes.RTLD_GLOBAL)


def has_cudnn() -> bool:
    """Whether cuDNN can be loaded; onnxruntime starts without it and fails at the first run."""
    return _loads(_CUDNN)


def _cuda_libraries(major: int) -> Iterator[str]:
    """The libraries that an inference on CUDA `major` opens first."""
    yield _cublas(major)
    if sys.platform != "win32":
        yield f"libcudart.so.{major}"
    yield _CUDNN


def _cublas(major: int) -> str:
    return f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"


def _loads(library: str) -> bool:
    """Whether the dynamic loader finds `library`, or has it loaded already."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
