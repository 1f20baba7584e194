"""Exported files in the runtime, the way a service would run them."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.backends import Resources, open_backend
from pedseg_runtime.detections import Detections
from pedseg_runtime.segmenter import Segmenter

from .base import Image


class Artifact:
    """An artifact of any format and precision, through the runtime's `Segmenter`.

    Attributes:
        segmenter: the open runtime.
        manifest: what the file says of itself.
    """

    compile_seconds = None

    def __init__(
        self,
        path: Path,
        *,
        device: str,
        threads: int,
        paste: bool,
        cuda_options: Mapping[str, str] | None = None,
    ) -> None:
        """Load the artifact.

        Args:
            path: an ONNX, TorchScript or pt2 artifact.
            device: "cpu", "cuda", "cuda:N", "tensorrt" or "openvino".
            threads: CPU threads for one run.
            paste: whether `infer` also pastes the masks into image pixels, as eager does.
            cuda_options: of onnxruntime's CUDA provider, instead of the runtime's own.
        """
        resources = Resources(threads=threads, cuda_options=cuda_options or {})
        # Without the self-test, which would warm up what the first call is to measure.
        self.segmenter = Segmenter(open_backend(path, device=device, resources=resources))
        self._paste = paste
        self.path = path
        self.manifest: Manifest = self.segmenter.manifest
        self.provider: str = self.segmenter.provider
        self.format: str = self.manifest.format
        self.precision: str = self.manifest.precision
        self.placement = self.segmenter.info.nodes() or None
        shape = self.manifest.static_shape
        self.max_batch: int | None = None if shape is None else shape[0]

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """Detect, and paste the masks if requested."""
        found = self.segmenter.predict(images, batch_size=len(images))
        if self._paste:
            for detections in found:
                detections.masks()
        return found

    def close(self) -> None:
        """Let go of the model and its memory."""
        self.segmenter.close()
        gc.collect()
