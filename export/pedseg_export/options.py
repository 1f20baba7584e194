"""The options of an export."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch

from pedseg_runtime.artifact.manifest import MASK_SPECS
from pedseg_runtime.errors import InputError

from .formats import FORMATS, Shape
from .target import Target

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
SMALLEST_SIDE = 16  # pixels; no pedestrian is visible below


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of an export; all are recorded in the manifest.

    Attributes:
        format: a name of `FORMATS`.
        precision: one of `PRECISIONS`.
        mask_format: `roi` for soft masks [D, 28, 28], `full` for masks uint8 [D, H, W].
        static_shape: (N, H, W) to fix the graph to, None for free sizes.
        target: the onnxruntime that will run it.
        min_size, max_size: of the resize rule, in pixels; None keeps the checkpoint's.
        score_threshold, nms_threshold, detections_per_image: of the box head; None likewise.
        self_test: whether samples for the runtime's self-test are stored in the artifact.

    Raises:
        InputError: options exclude each other.
    """

    format: str = "onnx"
    precision: str = "fp32"
    mask_format: str = "roi"
    static_shape: Shape | None = None
    target: Target = field(default_factory=Target.installed)
    min_size: int | None = None
    max_size: int | None = None
    score_threshold: float | None = None
    nms_threshold: float | None = None
    detections_per_image: int | None = None
    self_test: bool = True

    def __post_init__(self) -> None:
        _expect("format", self.format, FORMATS)
        _expect("precision", self.precision, PRECISIONS)
        _expect("mask_format", self.mask_format, MASK_SPECS)
        format = FORMATS[self.format]
        if self.precision not in format.precisions:
            able = [name for name, other in FORMATS.items() if self.precision in other.precisions]
            raise InputError(
                f"precision: {self.format} artifacts can be {', '.join(format.precisions)}, found "
                f"{self.precision}, which its runtime cannot run; use --format {' or '.join(able)}"
            )
        if self.static_shape is not None:
            if not format.can_be_static:
                raise InputError(
                    f"static shape: {self.format} artifacts take any size; use --format onnx or pt2"
                )
            _check_shape(self.static_shape)
        if self.format == "onnx":
            self.target.opset()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the networks in the graph; int8 starts from float32."""
        return DTYPES.get(self.precision, torch.float32)

    @property
    def settings(self) -> dict[str, float | None]:
        """Overrides of the checkpoint's settings."""
        return {
            "min_size": self.min_size,
            "max_size": self.max_size,
            "score_threshold": self.score_threshold,
            "nms_threshold": self.nms_threshold,
            "detections_per_image": self.detections_per_image,
        }


def parse_shape(text: str) -> Shape:
    """Parse (N, H, W) from a text such as `1x480x640`.

    Raises:
        InputError: the text is no such shape.
    """
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text.strip())
    if found is None:
        raise InputError(f"static shape: expected NxHxW such as 1x480x640, found {text!r}")
    shape = int(found[1]), int(found[2]), int(found[3])
    _check_shape(shape)
    return shape


def _check_shape(shape: Shape) -> None:
    count, height, width = shape
    if count < 1 or min(height, width) < SMALLEST_SIDE:
        raise InputError(
            f"static shape: expected at least one image with sides of at least {SMALLEST_SIDE} "
            f"pixels, found {count}x{height}x{width}"
        )


def _expect(name: str, found: str, known: object) -> None:
    names = list(known)  # type: ignore[call-overload]
    if found not in names:
        raise InputError(f"{name}: expected one of {', '.join(names)}, found {found!r}")
