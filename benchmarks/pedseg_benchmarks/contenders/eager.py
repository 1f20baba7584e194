"""torchvision's own forward: as it is, and with what torch offers to make it faster."""

from __future__ import annotations

import contextlib
import gc
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._dynamo.utils import counters

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import ClosedError
from pedseg_train.checkpoint import load_checkpoint, with_settings
from pedseg_train.eager import EagerSegmenter

from .base import Image

AUTOCAST = {"cpu": (torch.bfloat16, "bf16"), "cuda": (torch.float16, "fp16")}


class Eager:
    """The checkpoint run by torchvision's own forward, which pastes its masks in any case."""

    format = "torch"
    placement = None
    max_batch = None

    def __init__(
        self,
        path: Path,
        *,
        device: str,
        settings: Mapping[str, float] | None = None,
        autocast: bool = False,
        channels_last: bool = False,
        compiled: bool = False,
    ) -> None:
        """Load the checkpoint.

        Args:
            path: of the checkpoint.
            device: "cpu", "cuda" or "cuda:N".
            settings: sizes and thresholds that replace the checkpoint's, see `with_settings`.
            autocast: let torch choose the precision of every operator: bfloat16 on the CPU and
                float16 on CUDA where it takes them to be safe.
            channels_last: keep the trunk's tensors in NHWC order.
            compiled: compile the trunk (backbone and pyramid) with torch.compile.
        """
        loaded = with_settings(load_checkpoint(path), **(settings or {}))
        self._segment: EagerSegmenter | None = EagerSegmenter(
            loaded.model, class_names=loaded.header.class_names, device=device
        )
        self.path = path
        self.provider: str = self._segment.provider
        kind = self._segment.device.type
        self.precision = AUTOCAST[kind][1] if autocast else "fp32"
        self._context: Any = (
            (lambda: torch.autocast(kind, dtype=AUTOCAST[kind][0]))
            if autocast
            else contextlib.nullcontext
        )
        backbone = loaded.model.backbone
        if channels_last:
            backbone.to(memory_format=torch.channels_last)
            backbone.register_forward_pre_hook(_to_channels_last)
        self._compiled = CompiledTrunk(backbone) if compiled else None
        if self._compiled is not None:
            loaded.model.backbone = self._compiled

    @property
    def compile_seconds(self) -> float | None:
        """Of all calls of the trunk in which torch.compile made a new graph."""
        return None if self._compiled is None else self._compiled.compile_seconds

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """Detect; the masks in image pixels are part of torchvision's forward."""
        if self._segment is None:
            raise ClosedError("eager: expected an open contender, found it closed")
        with self._context():
            return self._segment.predict(images)

    def close(self) -> None:
        """Let go of the model and its memory."""
        self._segment = self._compiled = None
        gc.collect()


class CompiledTrunk(nn.Module):
    """A trunk behind torch.compile that notes how long the calls took in which it compiled.

    torch.compile works when it is first called with a shape, not before, so its time stands
    within that of the first calls.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.out_channels = trunk.out_channels
        self.compile_seconds = 0.0
        # The compiler looks for CUDA also where only the CPU is to be compiled for, and warns.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        self._run = torch.compile(trunk)

    def forward(self, images: torch.Tensor) -> Any:
        """The pyramid of images float32 [N, 3, H, W]."""
        graphs = counters["stats"]["unique_graphs"]
        start = time.perf_counter()
        features = self._run(images)
        if counters["stats"]["unique_graphs"] > graphs:
            self.compile_seconds += time.perf_counter() - start
        return features


def _to_channels_last(_module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (inputs[0].contiguous(memory_format=torch.channels_last),)
