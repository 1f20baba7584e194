"""What a backend says when the library beneath it fails."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ArtifactError, DeviceError


def run_failure(
    path: Path, provider: str, error: Exception, shape: tuple[int, ...]
) -> ArtifactError | DeviceError:
    """The pedseg error for a run of `path` on `provider` that failed on images of `shape`."""
    text = one_line(error)
    images = f"{shape[0]} images of {shape[1]}x{shape[2]}"
    if re.search(r"alloc|out of memory", text, re.IGNORECASE):
        return DeviceError(
            f"{path}: expected {provider} to have memory for {images}, found {text}; "
            "use a smaller batch_size or smaller images"
        )
    if "cuda" in provider.lower():
        return DeviceError(
            f"{path}: expected {provider} to run {images}, found {text}; try device='cpu'"
        )
    return ArtifactError(
        f"{path}: expected the graph to run on {images}, found {text}; "
        "export the checkpoint again with pedseg-export"
    )


def one_line(error: Exception) -> str:
    """What a library's message says, without onnxruntime's tags and CUDA's call stacks."""
    text = " ".join(str(error).split())
    failure = re.search(r"CU[A-Z]* failure \d+: [^;]+", text)
    if failure:
        return failure.group().strip()
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from \S+ failed:)?", "", text)
    return text if len(text) <= 300 else f"{text[:300]}..."
