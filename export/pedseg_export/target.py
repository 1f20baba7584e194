"""The onnxruntime release that an ONNX graph is exported for: its opset and its CUDA kernels."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata

from pedseg_runtime.errors import InputError

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
