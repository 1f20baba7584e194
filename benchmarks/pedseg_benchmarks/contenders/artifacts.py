"""Exported files: in the runtime, the way a service would run them, and in OpenVINO."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pedseg_runtime.artifact.manifest import INPUT_NAME, Manifest, output_specs
from pedseg_runtime.artifact.reading import read_artifact
from pedseg_runtime.artifact.tensors import check_outputs, split_outputs
from pedseg_runtime.detections import Detections
from pedseg_runtime.segmenter import Segmenter

from .base import Image, NotRunError


class Artifact:
    """An artifact of any format and precision, through the runtime's `Segmenter`.

    Attributes:
        segmenter: the open runtime.
        manifest: what the file says of itself.
    """

    compile_seconds = None

    def __init__(self, path: Path, *, device: str, threads: int, paste: bool) -> None:
        """Load the artifact.

        Args:
            path: an ONNX, TorchScript or pt2 artifact.
            device: "cpu", "cuda", "cuda:N" or "tensorrt".
            threads: CPU threads for one run.
            paste: whether `infer` also pastes the masks into image pixels, as eager does.
        """
        # Without the self-test, which would warm up what the first call is to measure.
        self.segmenter = Segmenter.load(path, device=device, threads=threads, self_test=False)
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


class OpenVino:
    """The very file of an artifact, read and compiled by OpenVINO."""

    format = "openvino"
    placement = None

    def __init__(self, path: Path, *, threads: int, paste: bool) -> None:
        """Compile the artifact for the CPU.

        Args:
            path: an ONNX artifact.
            threads: CPU threads for one run.
            paste: whether `infer` also pastes the masks into image pixels.

        Raises:
            ArtifactError: the file is no artifact.
            NotRunError: OpenVINO is not installed, or does not take the graph.
        """
        self.path = path
        self._manifest = read_artifact(path).manifest
        try:
            openvino: Any = importlib.import_module("openvino")
        except ImportError as error:
            raise NotRunError("openvino is not installed; pip install openvino") from error
        # On processors with bfloat16 it would compute in that unless told otherwise.
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            compiled = openvino.Core().compile_model(str(path), "CPU", config)
        except Exception as error:  # its errors share no narrower base
            raise NotRunError(
                f"OpenVINO {openvino.__version__} does not take the graph: {last_line(error)}"
            ) from error
        self._names = [spec["name"] for spec in output_specs(self._manifest.mask_format)]
        self._request: Any = compiled.create_infer_request()
        self._paste = paste
        self.precision: str = self._manifest.precision
        self.provider = f"openvino:CPU {openvino.__version__.split('-')[0]}"
        shape = self._manifest.static_shape
        self.max_batch: int | None = None if shape is None else shape[0]
        self.compile_seconds: float | None = None

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """Detect in images of one size, and paste the masks if requested."""
        batch = images[0][None] if len(images) == 1 else np.stack(images)
        self._request.infer({INPUT_NAME: np.ascontiguousarray(batch)})
        # Copies: the request's own buffers are used again by the next call.
        outputs: Any = tuple(self._request.get_tensor(name).data.copy() for name in self._names)
        check_outputs(outputs, batch.shape, self._manifest)
        found = split_outputs(outputs, batch.shape, self._manifest)
        if self._paste:
            for detections in found:
                detections.masks()
        return found

    def close(self) -> None:
        """Let go of the model and its memory."""
        self._request = None
        gc.collect()


def last_line(error: Exception) -> str:
    """The line of OpenVINO's message that says what is wrong: the last that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
