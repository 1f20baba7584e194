"""Lower precisions: what stays in float32, and the quantization to int8."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.errors import InputError

from ..formats import Draft
from ..formats.onnx import draft_of
from ..verification import Image

_MIXED_PRECISION_NOTES = (
    "resizing and normalising the image: its pixels are the network's input",
    "anchors, box decoding and clipping: a half-precision pixel beyond 1024 is coarser than 0.5",
    "RoIAlign: its sampling points are coordinates too",
    "objectness, class scores and soft masks after the last layer: thresholds and NMS compare them",
)
FLOAT32_NOTES = {"fp32": (), "fp16": _MIXED_PRECISION_NOTES, "bf16": _MIXED_PRECISION_NOTES}


@dataclass(frozen=True)
class Calibration:
    """Calibration images and method.

    Attributes:
        images: uint8 [H, W, 3] RGB of any sizes, as the service will see them.
        method: of choosing ranges: `entropy`, `percentile` or `minmax`; None for the default.
    """

    images: Sequence[Image]
    method: str | None = None


def quantize_draft(
    draft: Draft,
    manifest: Manifest,
    calibration: Calibration | None,
    *,
    notify: Callable[[str], object],
) -> Draft:
    """Quantise a float32 ONNX draft to int8.

    Args:
        draft: of the ONNX format.
        manifest: of that draft, for the intermediate file.
        calibration: required.
        notify: called with each progress message, one line.

    Raises:
        InputError: there are no images.
        ExportError: onnxruntime cannot run the result.
    """
    if calibration is None:
        raise InputError(
            "int8: expected images to calibrate on, found none; pass --calibration DIR with "
            "images as the service will see them"
        )
    from .int8 import quantize  # onnxruntime's tools take a second to import

    settings = {"method": calibration.method} if calibration.method else {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        draft.write(source, manifest, None)
        result = quantize(source, target, images=calibration.images, notify=notify, **settings)
        model = ir.load(target)
        ir.external_data.load_to_model(model)  # before the folder is deleted
    return draft_of(model, notes=result.notes)
