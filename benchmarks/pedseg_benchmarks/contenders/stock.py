"""torchvision's own ONNX export of the checkpoint, run by plain onnxruntime.

Exported on the spot, in torchvision's documented way, and kept by the checkpoint's digest and what
else decides over the file. Its input is torchvision's: one float image [3, H, W] in 0..1; its masks
are pasted inside the graph.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import logging
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
import torchvision

from pedseg_export.verification import generated_street
from pedseg_runtime.backends.sessions import CPU, CUDA, LOG_FATAL, cuda_options
from pedseg_runtime.detections import Detections
from pedseg_runtime.devices import parse_device
from pedseg_runtime.errors import first_line
from pedseg_runtime.files import replacing
from pedseg_train.checkpoint import LoadedCheckpoint, load_checkpoint, with_settings

from .base import Image, NotRunError

OPSET = 17
OUTPUTS = ("boxes", "labels", "scores", "masks")
RECORD = ("session.record_ep_graph_assignment_info", "1")


class StockOnnx:
    """`torch.onnx.export(model, ...)` as torchvision's documentation shows it."""

    format = "stock-onnx"
    precision = "fp32"
    max_batch = 1  # the exported graph answers for the first image only
    compile_seconds = None

    def __init__(
        self,
        checkpoint: Path,
        *,
        device: str,
        threads: int,
        cache: Path,
        settings: Mapping[str, float] | None = None,
    ) -> None:
        """Export, if that was not done before, and start a session.

        Args:
            checkpoint: to export.
            device: "cpu", "cuda" or "cuda:N".
            threads: CPU threads for one run.
            cache: folder for the exported file.
            settings: sizes and thresholds that replace the checkpoint's.

        Raises:
            NotRunError: this torch does not export it, or onnxruntime does not run it there.
        """
        loaded = with_settings(load_checkpoint(checkpoint), **(settings or {}))
        self.path = stock_file(loaded, cache)
        self._class_names = loaded.header.class_names
        self._session: Any = _session(self.path, device, threads)
        self._input = self._session.get_inputs()[0].name
        self.provider: str = self._session.get_providers()[0]
        self.placement = _placement(self._session)

    def infer(self, images: Sequence[Image]) -> list[Detections]:
        """Detect in one image; converting it to torchvision's input is part of the work."""
        (image,) = images
        tensor = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)
        boxes, labels, scores, masks = self._session.run(list(OUTPUTS), {self._input: tensor})
        return [
            Detections(
                boxes=boxes,
                labels=labels,
                scores=scores,
                roi_masks=None,
                full_masks=(masks[:, 0] > 0.5).view(np.uint8),
                image_size=(image.shape[0], image.shape[1]),
                class_names=self._class_names,
            )
        ]

    def close(self) -> None:
        """Let go of the session and its memory."""
        self._session = None
        gc.collect()


def stock_file(loaded: LoadedCheckpoint, cache: Path) -> Path:
    """The exported file of a checkpoint in `cache`, made if it is not there.

    Raises:
        NotRunError: this torch cannot export it.
    """
    header = loaded.header
    facts = {
        "checkpoint": loaded.sha256,
        "settings": [
            header.min_size,
            header.max_size,
            header.score_threshold,
            header.nms_threshold,
            header.detections_per_image,
        ],
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "opset": OPSET,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = cache / f"stock-{key}.onnx"
    if path.is_file():
        return path
    with replacing(path) as temporary:
        try:
            _export(loaded, temporary)
        except Exception as error:  # torch's exporters fail in any way they can
            raise NotRunError(
                f"torch {torch.__version__} does not export torchvision's model: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error
    return path


def _export(loaded: LoadedCheckpoint, path: Path) -> None:
    """Export in the documented way; N is 1 whatever one does, height and width are free."""
    street = generated_street(0, 240, 320, people=True)
    sample = torch.from_numpy(street.copy()).permute(2, 0, 1).float() / 255
    axes: dict[str, dict[int, str]] = {"image": {1: "height", 2: "width"}}
    axes |= {name: {0: "detections"} for name in OUTPUTS}
    axes["masks"] |= {2: "height", 3: "width"}
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        _silenced("torch.onnx"),
    ):
        warnings.simplefilter("ignore")  # of tracing, which stands for what it bakes in
        torch.onnx.export(
            loaded.model.eval(),
            ([sample],),
            str(path),
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
            dynamo=False,
        )


@contextlib.contextmanager
def _silenced(name: str) -> Any:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _session(path: Path, device: str, threads: int) -> Any:
    """A session as plain users start it, on the device or not at all."""
    place = parse_device(device)
    options = ort.SessionOptions()
    options.log_severity_level = LOG_FATAL
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*RECORD)
    providers: list[Any] = [CPU]
    if place.kind == "cuda":
        ort.preload_dlls()
        providers = [(CUDA, {"device_id": str(place.index), **cuda_options("fp32")}), CPU]
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no narrower base
        raise NotRunError(
            f"onnxruntime {ort.__version__} does not load it: {first_line(error)}"
        ) from error
    wanted = CUDA if place.kind == "cuda" else CPU
    if session.get_providers()[0] != wanted:
        raise NotRunError(f"onnxruntime took {session.get_providers()[0]} instead of {wanted}")
    return session


def _placement(session: Any) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)
