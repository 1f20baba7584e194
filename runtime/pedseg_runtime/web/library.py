"""onnxruntime-web: which version, how npm fetches it, and which of its files a page needs."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import DownloadError, InputError, first_line

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# Of the package as npm's registry has it, in npm's own notation.
INTEGRITY = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3j"
    "L02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
WASM_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)
WEBGPU_FILES = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_TIMEOUT = 600  # seconds for 33 MB


def fetch_library(*, offline: bool = False) -> bytes:
    """The package of onnxruntime-web, a .tgz, fetched by npm (33 MB) or from npm's cache.

    Nothing is installed and none of its scripts runs.

    Args:
        offline: take it from npm's cache alone.

    Raises:
        DownloadError: npm is missing or did not get it, or it is not the pinned package.
    """
    name = f"{PACKAGE}@{VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(
            f"{name}: expected npm to fetch it with, found none; install Node.js, or run "
            f"'npm pack {name}' elsewhere and name the file by --library"
        )
    with tempfile.TemporaryDirectory(prefix="pedseg-web-") as folder:
        command = [npm, "pack", name, "--ignore-scripts", "--pack-destination", folder]
        command.append("--offline" if offline else "--prefer-offline")
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT, cwd=folder, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DownloadError(
                f"{name}: expected npm to fetch it within {_TIMEOUT} s, found it still busy; "
                "check the network"
            ) from error
        files = list(Path(folder).glob("*.tgz"))
        if done.returncode or not files:
            raise DownloadError(
                f"{name}: expected npm to fetch it, found {first_line(done.stderr)}; check the "
                f"network, or run 'npm pack {name}' elsewhere and name the file by --library"
            )
        return read_library(files[0])


def read_library(path: Path) -> bytes:
    """The package in a file that `npm pack` wrote.

    Raises:
        DownloadError: it is not the pinned package.
        InputError: there is no such file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected the package {PACKAGE}@{VERSION}, found none ({error.strerror})"
        ) from error
    digest = hashlib.sha512(content).digest()
    found = f"sha512-{base64.b64encode(digest).decode('ascii')}"
    if found != INTEGRITY:
        raise DownloadError(
            f"{path.name}: expected {PACKAGE}@{VERSION} ({INTEGRITY[:19]}...), found another file "
            f"({found[:19]}...); fetch it with 'npm pack {PACKAGE}@{VERSION}'"
        )
    return content


def library_files(package: bytes, names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The files `names` of the package's `dist` folder, with their content."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for name in names:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # the package is the pinned one: they are files
            yield name, member.read()
