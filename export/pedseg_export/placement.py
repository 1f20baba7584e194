"""Where onnxruntime's CUDA provider places every node of a graph, on a machine without a GPU.

The provider is the real one; what is missing is the driver beneath it. A few functions stand in for
it: they claim one device and do nothing. onnxruntime then divides the graph as it would with a GPU,
writes the outcome to its log, and fails at the first call that would need a device. So the answer
tells which nodes have a CUDA kernel in this onnxruntime, and how many copies between the devices
are inserted. It says nothing of speed, and a session with a real GPU is worth more.
"""

from __future__ import annotations

import mmap
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from pedseg_runtime.backends import Placement
from pedseg_runtime.backends.base import one_line
from pedseg_runtime.backends.sessions import CPU, CUDA, misplaced
from pedseg_runtime.devices import CUDA_EXTRA
from pedseg_runtime.errors import ArtifactError, DeviceError

ALL = "all operators"  # where onnxruntime only says how many nodes there are
COPIES = {"MemcpyFromHost": "to the GPU", "MemcpyToHost": "to the CPU"}
_PROVIDER = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
_COMPILERS = ("cc", "gcc", "clang")
_SUCCEED = """
int cuInit(unsigned flags) { return 0; }
int cudaSetDevice(int device) { return 0; }
int cudaGetDevice(int *device) { *device = 0; return 0; }
int cudaGetDeviceCount(int *count) { *count = 1; return 0; }
int cudaGetDeviceProperties(char *properties, int device) {
  for (int i = 0; i < 256; i++) properties[i] = 0;  /* its name comes first */
  return 0;
}
int cudaDeviceGetAttribute(int *value, int attribute, int device) { *value = 9; return 0; }
int cudaMemGetInfo(unsigned long *unused, unsigned long *total) {
  *unused = *total = 64UL << 30;
  return 0;
}
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { *stream = stream; return 0; }
int cudaStreamDestroy(void *stream) { return 0; }
int cudaDeviceSynchronize(void) { return 0; }
int cudaGetLastError(void) { return 0; }
int cudaDriverGetVersion(int *version) { *version = 13000; return 0; }
int cudaRuntimeGetVersion(int *version) { *version = 13000; return 0; }
"""
# The stand-in is loaded first and for all: its name and its symbols are found before any other's.
_CHILD = """
import ctypes, os, sys
import onnxruntime as ort
ctypes.CDLL(sys.argv[1], mode=os.RTLD_GLOBAL | os.RTLD_NOW)
ort.preload_dlls()
options = ort.SessionOptions()
options.log_severity_level = 0
providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
try:
    ort.InferenceSession(sys.argv[2], options, providers=providers, enable_fallback=0)
except Exception as error:
    print(error, file=sys.stderr)
"""


@dataclass(frozen=True, kw_only=True)
class CudaPlacement:
    """How onnxruntime divides a graph between CUDA and the CPU.

    Attributes:
        onnxruntime: its version.
        providers: provider -> operator -> number of nodes, without the copies; most frequent first.
            If one provider has all nodes, they are counted as `ALL`.
        copies: `COPIES` -> how many of them are inserted, each between the devices.
    """

    onnxruntime: str
    providers: Placement
    copies: Mapping[str, int]

    def nodes(self, provider: str) -> int:
        """The number of nodes of `provider`."""
        return sum(self.providers.get(provider, {}).values())

    @property
    def problem(self) -> str:
        """Why the runtime would refuse such a session; empty if it would not."""
        return misplaced(self.providers, CUDA, frozenset({CUDA}))

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "onnxruntime": self.onnxruntime,
            "nodes": {name: self.nodes(name) for name in (CUDA, CPU)},
            "providers": {name: dict(operators) for name, operators in self.providers.items()},
            "copies": dict(self.copies),
            "problem": self.problem,
        }

    def lines(self) -> list[str]:
        """The same for a terminal."""
        copies = ", ".join(f"{count} {COPIES[name]}" for name, count in self.copies.items())
        found = [
            f"placement on CUDA by onnxruntime {self.onnxruntime}: {self.nodes(CUDA)} CUDA and "
            f"{self.nodes(CPU)} CPU nodes, copies: {copies or 'none'}"
        ]
        for provider, operators in self.providers.items():
            counts = ", ".join(f"{name} {count}" for name, count in operators.items())
            found.append(f"{provider}: {counts}")
        return [*found, f"refused by the runtime: {self.problem}"] if self.problem else found


def unavailable() -> str:
    """Why placement cannot be explained here, ending in what to do; empty if it can."""
    if sys.platform != "linux" or not _PROVIDER.exists():
        return "onnxruntime has no CUDA provider here; pip install onnxruntime-gpu on Linux"
    if _compiler() is None:
        return f"no C compiler ({', '.join(_COMPILERS)}) for the driver's stand-in; install gcc"
    return ""


def explain_placement(path: Path) -> CudaPlacement:
    """Ask the CUDA provider of the installed onnxruntime where it would place the nodes of `path`.

    Raises:
        ArtifactError: onnxruntime cannot read the file.
        DeviceError: there is no CUDA provider, or it does not start without the libraries of CUDA.
    """
    missing = unavailable()
    if missing:
        raise DeviceError(f"placement: expected onnxruntime's CUDA provider, found that {missing}")
    with tempfile.TemporaryDirectory() as folder:
        stand_in = _build_stand_in(Path(folder))
        words = [sys.executable, "-c", _CHILD, str(stand_in), str(path)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    log = done.stderr.decode(errors="replace")
    counts = read_log(log)
    if CUDA not in counts:
        lines = [line for line in log.splitlines() if line.strip()]
        found = one_line(RuntimeError(lines[-1] if lines else "no output"))
        if "Load model" in log:
            raise ArtifactError(f"{path}: expected an ONNX model, found {found}")
        raise DeviceError(
            f"placement: expected onnxruntime's CUDA provider to start, found {found}; {CUDA_EXTRA}"
        )
    copies = {name: counts[CUDA].pop(name) for name in COPIES if name in counts[CUDA]}
    providers = {name: dict(operators.most_common()) for name, operators in counts.items()}
    return CudaPlacement(onnxruntime=ort.__version__, providers=providers, copies=copies)


def read_log(log: str) -> dict[str, Counter[str]]:
    """Provider -> operator -> number of nodes, from what onnxruntime logs when it has placed them.

    A line names a provider, the following ones its nodes: `Conv (name of the node)`. Nodes that
    are all on one provider are not listed, but their number is said.
    """
    counts: dict[str, Counter[str]] = {}
    provider = None
    for line in log.splitlines():
        heading = re.search(r"(\S+) placed on \[(\w+)\]\. Number of nodes: (\d+)", line)
        if heading:
            scope, provider, number = heading.groups()
            counts[provider] = Counter({ALL: int(number)} if scope == "nodes" else {})
        elif provider is not None and (node := re.search(r"VerifyEach\w+\]  +(\w+) \(", line)):
            counts[provider][node.group(1)] += 1
    return counts


def _build_stand_in(folder: Path) -> Path:
    """Compile the stand-in, which has every function of the driver that the provider asks for."""
    with _PROVIDER.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = {name.decode() for name in re.findall(rb"\0(cu[A-Z]\w{2,60})(?=\0)", data)}
    failing = "".join(f"int {name}(void) {{ return 999; }}\n" for name in names - {"cuInit"})
    source, library = folder / "stand_in.c", folder / "libcuda.so.1"
    source.write_text(_SUCCEED + failing, encoding="utf-8")
    flags = ["-w", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", "-o", str(library)]
    built = subprocess.run(
        [str(_compiler()), *flags, str(source)], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise DeviceError(
            "placement: expected the C compiler to build a stand-in for the driver, found "
            f"{built.stderr.strip()[:300]}; install gcc"
        )
    return library


def _compiler() -> str | None:
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)
