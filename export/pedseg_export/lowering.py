"""Lower precisions: what they need, what they keep in float32, and how int8 comes about."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.errors import InputError

from .formats import Draft
from .formats.onnx import draft_of
from .verification import Image

_MIXED = (
    "resizing and normalising the image: its pixels are the network's input",
    "anchors, box decoding and clipping: a half-precision pixel beyond 1024 is coarser than 0.5",
    "RoIAlign: its sampling points are coordinates too",
    "objectness, class scores and soft masks after the last layer: thresholds and NMS compare them",
)
KEPT_IN_FLOAT = {"fp32": (), "fp16": _MIXED, "bf16": _MIXED}


@dataclass(frozen=True)
class Calibration:
    """What int8 is scaled by.

    Attributes:
        images: uint8 [H, W, 3] RGB of any sizes, as the service will see them.
        method: how ranges are chosen: `entropy`, `percentile` or `minmax`; None for the default.
    """

    images: Sequence[Image]
    method: str | None = None


def quantized(
    draft: Draft,
    manifest: Manifest,
    calibration: Calibration | None,
    *,
    notify: Callable[[str], object],
) -> Draft:
    """An int8 draft of a float32 ONNX draft.

    Args:
        draft: of the ONNX format.
        manifest: of that draft; it travels through the intermediate file.
        calibration: images to scale by.
        notify: is told in one line what happens.

    Raises:
        InputError: there are no images.
        ExportError: onnxruntime cannot run the result.
    """
    if calibration is None:
        raise InputError(
            "int8: expected images to calibrate by, found none; pass --calibration DIR with "
            "pictures as the service will see them"
        )
    from .precision.int8 import quantize  # onnxruntime's tools take a second to import

    settings = {"method": calibration.method} if calibration.method else {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        draft.write(source, manifest, None)
        result = quantize(source, target, images=calibration.images, notify=notify, **settings)
        model = ir.load(target)
        ir.external_data.load_to_model(model)  # the folder is about to go
    return draft_of(model, notes=result.notes)
