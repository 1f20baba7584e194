"""The artifacts of the suite."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    """An artifact of the suite.

    Attributes:
        file: its name.
        options: of pedseg-export.
        small, full: seconds to export the two networks; None where that one has it not.
        devices: where it is measured.
    """

    file: str
    options: tuple[str, ...]
    small: float | None
    full: float | None
    devices: tuple[str, ...] = ("cpu", "cuda")


ONNX = ("--format", "onnx")
SCRIPT = ("--format", "torchscript")
VARIANTS = (
    Variant("fp32.onnx", ONNX, 30, 45),
    Variant("fp16.onnx", (*ONNX, "--precision", "fp16"), 35, 55, ("cuda",)),
    Variant("int8.onnx", (*ONNX, "--precision", "int8"), 40, 100, ("cpu",)),
    Variant("fp32.torchscript", SCRIPT, 20, 40),
    Variant("fp16.torchscript", (*SCRIPT, "--precision", "fp16"), 20, 40, ("cuda",)),
    Variant("fp32.pt2", ("--format", "pt2"), 25, 45),
    Variant("full-masks.onnx", (*ONNX, "--masks", "full"), 30, None),
)


def export_name(network: str, variant: Variant) -> str:
    """The step that makes an artifact."""
    return f"export-{network}-{variant.file}"
