"""Test in a child process that onnxruntime runs an int8 artifact on images without detections.

Quantised operators have crashed onnxruntime on tensors without rows, with a segfault that no
`except` catches: it would end the exporter, and a service on its first empty street.

The child process runs this module as a program, with the artifact as its argument.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

INPUT = "images"
NO_SELECTION = "no_selection"
SHAPES = ((1, 120, 160), (1, 16, 16), (3, 97, 64))
SECONDS = 600.0


def run_smoke_test(path: Path, *, seconds: float = SECONDS) -> None:
    """Run the ONNX artifact at `path` in a process of its own, on images without detections.

    Raises:
        ExportError: the process crashed, failed, or took longer than `seconds`.
    """
    from pedseg_runtime.errors import ExportError  # not needed in the child process

    reason = _failure_of(_command(path), seconds)
    if reason:
        raise ExportError(
            f"int8: expected onnxruntime {ort.__version__} to run the quantised graph on images "
            f"without detections, found that it {reason}; export in fp32 or fp16, or with "
            "another onnxruntime"
        )


def _command(path: Path) -> list[str]:
    """The command that runs this module as a program, without its folder on the import path."""
    return [sys.executable, "-P", str(Path(__file__)), str(path)]


def _failure_of(command: list[str], seconds: float) -> str:
    """Run a command; how it failed, empty if it succeeded."""
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"does not end within {seconds:.0f} s"
    if process.returncode < 0:
        return f"crashes ({signal.Signals(-process.returncode).name})"
    if process.returncode:
        lines = [line for line in process.stderr.splitlines() if line.strip()]
        return f"fails ({lines[-1].strip()[:200]})" if lines else f"ends with {process.returncode}"
    return ""


def _main(path: str) -> None:
    """Run the artifact as it is, and again with all detections suppressed."""
    model = onnx.load(path)
    _run(model)
    if _suppress_detections(model):
        for outputs in _run(model):
            if any(len(output) for output in outputs):
                raise SystemExit("finds detections although NMS selects none")


def _run(model: onnx.ModelProto) -> list[list[NDArray[Any]]]:
    """The outputs for black images of several sizes, including a batch and a repeated size."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised too
    session: Any = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [session.run(None, {INPUT: images}) for images in _images(session.get_inputs()[0].shape)]


def _images(fixed: list[int | str]) -> Iterator[NDArray[np.uint8]]:
    """Black images uint8 [N, H, W, 3] of every shape that the input allows."""
    shapes = list(
        dict.fromkeys(
            tuple(f if isinstance(f, int) else n for f, n in zip(fixed, shape, strict=False))
            for shape in SHAPES
        )
    )
    for shape in [*shapes, shapes[0]]:
        yield np.zeros((*shape, 3), np.uint8)


def _suppress_detections(model: onnx.ModelProto) -> bool:
    """Let the last NMS select no box, so that there is no detection, whatever the weights."""
    selections = [node for node in model.graph.node if node.op_type == "NonMaxSuppression"]
    if not selections:
        return False
    none = onnx.numpy_helper.from_array(np.zeros(1, np.int64), NO_SELECTION)
    model.graph.initializer.append(none)
    last = selections[-1]
    last.input[2] = NO_SELECTION
    return True


if __name__ == "__main__":
    _main(sys.argv[1])
