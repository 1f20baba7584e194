"""What every contender is to the harness, before and after it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import PedsegError

Image = NDArray[np.uint8]
EAGER = "eager"


class NotRunError(PedsegError):
    """A contender cannot be had here: a library, a compiler or an operator is missing."""


class Loaded(Protocol):
    """A contender that is ready to run."""

    @property
    def provider(self) -> str:
        """What really runs it, e.g. `torch:cpu` or `CUDAExecutionProvider`."""

    @property
    def format(self) -> str:
        """`torch`, `onnx`, `torchscript`, `pt2`, `stock-onnx` or `openvino`."""

    @property
    def precision(self) -> str:
        """`fp32`, or what its networks compute in."""

    @property
    def placement(self) -> Mapping[str, int] | None:
        """Provider -> number of nodes; None where nobody can say."""

    @property
    def path(self) -> Path:
        """The file that it runs."""

    @property
    def max_batch(self) -> int | None:
        """Most images per call; None for any number."""

    @property
    def compile_seconds(self) -> float | None:
        """Of the calls in which a compiler ran so far; None where there is none."""

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """The timed work, on images uint8 [H, W, 3] RGB in one call; one entry per image."""

    def close(self) -> None:
        """Let go of the model and its memory."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A contender before it is loaded. It can be pickled if `load` can.

    Attributes:
        name: unique in one benchmark; `eager`, a name of `roster.OPTIONAL`, or of an artifact.
        load: loads it; may raise a `PedsegError`.
        optional: whether the benchmark goes on without it, saying why, if it cannot be had.
    """

    name: str
    load: Callable[[], Loaded]
    optional: bool = False
