"""Packages that the other machine lacks: fetched as wheels, slimmed and unpacked."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import onnx

from pedseg_runtime.errors import InputError

from .fatbin import slim

# manylinux tags that pip is to accept, each by its name: it takes no ranges.
GLIBC = (28, 27, 24, 17)
CUDA = "libonnxruntime_providers_cuda.so"
UNUSED = "libonnxruntime.so."  # for programs in C; Python's own module has all of it once more
# A session needs a driver that works; one that fails at its first call has loaded the library.
LOADING = """
import sys, onnxruntime
try:
    providers = ["CUDAExecutionProvider"]
    onnxruntime.InferenceSession(sys.argv[1], providers=providers, enable_fallback=0)
except Exception as error:
    print(error)
"""
FAILED_LATER = "CUDA failure"


def fetch(requirement: str, folder: Path, *, python: str) -> Path:
    """A wheel for Linux on x86-64, by pip and without what it depends on.

    Args:
        requirement: `NAME==VERSION`, or the path of a wheel.
        folder: keeps it.
        python: version of the other machine's Python, "3.12".

    Raises:
        InputError: there is none.
    """
    if requirement.endswith(".whl"):
        if not Path(requirement).is_file():
            raise InputError(f"{requirement}: expected a wheel, found no file; check the path")
        return Path(requirement)
    folder = folder / python / requirement
    if not (found := list(folder.glob("*.whl"))):
        platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in GLIBC]
        words = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--implementation=cp", f"--python-version={python}"),
            *(*platforms, "--platform=manylinux2014_x86_64", "--dest", str(folder), requirement),
        ]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["pip said nothing"]
            raise InputError(
                f"{requirement}: expected a wheel for Python {python} on Linux, found none: "
                f"{lines[-1]}; name another version, or the path of a wheel"
            )
        found = list(folder.glob("*.whl"))
    return found[0]


def unpack(wheel: Path, target: Path, gpus: Sequence[int]) -> int:
    """Unpack a wheel without its CUDA code for other GPUs; gives the bytes that were zeroed."""
    zeroed = 0
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if UNUSED not in name]
        archive.extractall(target, names)
    libraries = [target / name for name in names if name.endswith(".so")]
    for path in libraries:
        content = bytearray(path.read_bytes())
        count = slim(content, gpus)
        if count:
            path.write_bytes(content)
        zeroed += count
    return zeroed


def cuda_folders() -> list[Path]:
    """Folders with the libraries of NVIDIA's packages, such as torch brings them."""
    spec = find_spec("nvidia")
    roots = [] if spec is None else list(spec.submodule_search_locations or ())
    return [path for root in roots for path in sorted(Path(root).glob("*/lib"))]


def check_loading(site: Path) -> str:
    """Whether onnxruntime takes its slimmed CUDA library, in a word.

    It needs CUDA's libraries and a driver: one that does nothing is compiled where there is none.
    For another Python the library is put into a copy of the installed onnxruntime.

    Raises:
        InputError: it does not.
    """
    library = site / "onnxruntime" / "capi" / CUDA
    if not library.exists():
        return "not in the kit"
    if reason := _cannot_try(site):
        return f"not tried: {reason}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        places = cuda_folders()
        if ctypes.util.find_library("cuda") is None:
            _build_driver(folder, library)
            places.append(folder)
        _overlay(folder / "onnxruntime", library)
        onnx.save(_smallest_model(), folder / "smallest.onnx")
        path = os.pathsep.join([str(folder), *sys.path])
        done = subprocess.run(
            [sys.executable, "-c", LOADING, str(folder / "smallest.onnx")],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": ":".join(map(str, places)),
                "PYTHONPATH": path,
            },
            capture_output=True,
            text=True,
        )
    answer = done.stdout.strip()
    if done.returncode != 0 or (answer and FAILED_LATER not in answer):
        lines = (answer or done.stderr.strip()).splitlines() or [f"exit code {done.returncode}"]
        raise InputError(
            f"{CUDA}: expected onnxruntime to load the slimmed library, found {lines[-1][:300]}; "
            "name other GPUs"
        )
    return "loads"


def _cannot_try(site: Path) -> str:
    """Why the library cannot be loaded here; empty if it can."""
    try:
        version = metadata.version("onnxruntime-gpu")
    except metadata.PackageNotFoundError:
        version = ""
    if not (site / f"onnxruntime_gpu-{version}.dist-info").is_dir():
        return f"the onnxruntime-gpu installed here is {version or 'missing'}, another than packed"
    if not cuda_folders():
        return "this machine has no CUDA libraries"
    if not shutil.which("cc") or not shutil.which("nm"):
        return "this machine has no C compiler"
    return ""


def _overlay(target: Path, library: Path) -> None:
    """The installed onnxruntime by links, with another CUDA library."""
    spec = find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    (target / "capi").mkdir(parents=True)
    for path in (*installed.iterdir(), *(installed / "capi").iterdir()):
        if path.name != "capi" and path.name != "__pycache__":
            source = library if path.name == CUDA else path
            (target / path.relative_to(installed)).symlink_to(source.resolve())


def _smallest_model() -> onnx.ModelProto:
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"
    ]
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "smallest", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _build_driver(folder: Path, library: Path) -> None:
    """`libcuda.so.1` with every function that `library` needs of it; each of them fails."""
    listing = subprocess.run(
        ["nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True
    )
    names = {line.split()[-1].split("@")[0] for line in listing.stdout.splitlines()}
    source = folder / "driver.c"
    wanted = sorted(name for name in names if name.startswith("cu") and name[2:3].isupper())
    functions = [f"int {name}(void) {{ return 999; }}" for name in wanted]
    source.write_text("\n".join(functions) + "\n")
    subprocess.run(
        [
            *("cc", "-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"),
            *("-o", str(folder / "libcuda.so.1"), str(source)),
        ],
        check=True,
    )
