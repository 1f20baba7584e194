"""What an export shall be like, and the onnxruntime that an ONNX graph is made for."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import metadata

import torch

from pedseg_runtime.artifact.manifest import MASK_SPECS
from pedseg_runtime.errors import InputError

from .formats import FORMATS, Shape

PACKAGES = ("onnxruntime-gpu", "onnxruntime")
# https://onnxruntime.ai/docs/reference/compatibility.html: the first release that reads an opset.
OPSET, FIRST_RELEASE = 18, (1, 14)
# Operator -> the first release with a CUDA kernel for it. RoiAlign: microsoft/onnxruntime#21990.
CUDA_SINCE = {"RoiAlign": (1, 25)}


@dataclass(frozen=True)
class Target:
    """An onnxruntime release.

    Attributes:
        package: `onnxruntime` or `onnxruntime-gpu`.
        version: e.g. `1.31.1`.
    """

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package}=={self.version}"

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse a target, e.g. `onnxruntime-gpu==1.25.0`.

        Raises:
            InputError: the text is no onnxruntime release.
        """
        found = re.fullmatch(r"(onnxruntime(?:-gpu)?)==(\d+\.\d+(?:\.\d+)?)", text.strip())
        if found is None:
            raise InputError(
                f"target: expected one of {', '.join(PACKAGES)} with its version, such as "
                f"onnxruntime-gpu==1.31.1, found {text!r}"
            )
        return cls(found.group(1), found.group(2))

    @classmethod
    def installed(cls) -> Target:
        """The onnxruntime of this environment."""
        for package in PACKAGES:
            try:
                return cls(package, metadata.version(package))
            except metadata.PackageNotFoundError:
                continue
        raise InputError("target: expected onnxruntime to be installed, found none; install it")

    def opset(self) -> int:
        """The oldest opset with every operator of the graph, which most releases can read.

        Raises:
            InputError: this release cannot read it.
        """
        if self.release < FIRST_RELEASE:
            raise InputError(
                f"target {self}: expected {'.'.join(map(str, FIRST_RELEASE))} or newer, which "
                f"reads opset {OPSET}; use a newer onnxruntime"
            )
        return OPSET

    def warnings(self, operators: Collection[str]) -> list[str]:
        """Operators that this release does not run well on CUDA, one line each."""
        if self.package != "onnxruntime-gpu":
            return []
        quantised = "int8 is made for CPUs: on CUDA it computes in float, between copies; use fp16"
        return [quantised] * ("QuantizeLinear" in operators) + [
            f"{self} has no CUDA kernel for {operator}: it will run on the CPU, with copies; "
            f"{'.'.join(map(str, since))} or newer has one"
            for operator, since in CUDA_SINCE.items()
            if operator in operators and self.release < since
        ]


PRECISIONS = ("fp32", "fp16", "bf16", "int8")
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
DEVICE_TARGETS = ("cpu", "cuda")
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
        device_target: `cpu`, or `cuda` for a graph that CUDA runs faster; both run on either.
        min_size, max_size: of the resize rule, in pixels; None keeps the checkpoint's.
        score_threshold, nms_threshold, detections_per_image: of the box head; None likewise.
        self_test: whether samples for the runtime's self-test are stored in the artifact.
        license: of the weights, an identifier such as `bsd-3-clause`; empty says nothing.

    Raises:
        InputError: options exclude each other.
    """

    format: str = "onnx"
    precision: str = "fp32"
    mask_format: str = "roi"
    static_shape: Shape | None = None
    target: Target = field(default_factory=Target.installed)
    device_target: str = "cpu"
    min_size: int | None = None
    max_size: int | None = None
    score_threshold: float | None = None
    nms_threshold: float | None = None
    detections_per_image: int | None = None
    self_test: bool = True
    license: str = ""

    def __post_init__(self) -> None:
        _expect("format", self.format, FORMATS)
        _expect("precision", self.precision, PRECISIONS)
        _expect("mask_format", self.mask_format, MASK_SPECS)
        _expect("device target", self.device_target, DEVICE_TARGETS)
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
        if self.device_target != "cpu" and self.format != "onnx":
            raise InputError(
                f"device target: {self.format} artifacts have one graph for all devices, found "
                f"{self.device_target}; use --format onnx, or leave --device-target out"
            )
        if self.device_target != "cpu" and self.precision == "int8":
            raise InputError(
                f"device target: int8 is made for CPUs, found {self.device_target}; "
                "use --precision fp16, or leave --device-target out"
            )
        if self.format == "onnx":
            self.target.opset()
        if self.license and not re.fullmatch(r"[\w.+-]+", self.license, re.ASCII):
            raise InputError(
                "license: expected an identifier such as bsd-3-clause, cc-by-4.0 or other, found "
                f"{self.license!r}"
            )

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
