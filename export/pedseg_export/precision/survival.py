"""Does onnxruntime run an artifact where nothing is found? Asked in a process that may die.

Quantised operators have crashed onnxruntime on tensors without rows, with a segfault that no
`except` catches: the exporter would die with them, and a service on its first empty street.

Run as a program, this module is the process that is asked: `python survival.py ARTIFACT`.
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
NOTHING = "nothing_at_all"
SHAPES = ((1, 120, 160), (1, 16, 16), (3, 97, 64))
SECONDS = 600.0


def survives(path: Path, *, seconds: float = SECONDS) -> None:
    """Run the ONNX artifact at `path` in a process of its own, on images without detections.

    Raises:
        ExportError: the process died, failed, or took longer than `seconds`.
    """
    from pedseg_runtime.errors import ExportError  # the process that is asked does without

    reason = _outcome(_command(path), seconds)
    if reason:
        raise ExportError(
            f"int8: expected onnxruntime {ort.__version__} to run the quantised graph on images "
            f"without detections, found that it {reason}; export in fp32 or fp16, or with "
            "another onnxruntime"
        )


def _command(path: Path) -> list[str]:
    """What runs this module as a program, without its folder among the places of imports."""
    return [sys.executable, "-P", str(Path(__file__)), str(path)]


def _outcome(command: list[str], seconds: float) -> str:
    """How the process went wrong, empty if it did not."""
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"does not end within {seconds:.0f} s"
    if asked.returncode < 0:
        return f"dies ({signal.Signals(-asked.returncode).name})"
    if asked.returncode:
        lines = [line for line in asked.stderr.splitlines() if line.strip()]
        return f"fails ({lines[-1].strip()[:200]})" if lines else f"ends with {asked.returncode}"
    return ""


def _main(path: str) -> None:
    """Run the artifact as it is, and once more so that it can find nothing."""
    model = onnx.load(path)
    _run(model)
    if _blind(model):
        for outputs in _run(model):
            if any(len(output) for output in outputs):
                raise SystemExit("finds detections where none can be")


def _run(model: onnx.ModelProto) -> list[list[NDArray[Any]]]:
    """The outputs for black images of several sizes, a batch among them, and one size again."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well
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


def _blind(model: onnx.ModelProto) -> bool:
    """Let the last NMS select nothing, so that whatever the weights are nothing is detected."""
    selections = [node for node in model.graph.node if node.op_type == "NonMaxSuppression"]
    if not selections:
        return False
    none = onnx.numpy_helper.from_array(np.zeros(1, np.int64), NOTHING)
    model.graph.initializer.append(none)
    last = selections[-1]
    last.input[2] = NOTHING
    return True


if __name__ == "__main__":
    _main(sys.argv[1])
