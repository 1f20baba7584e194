"""pedseg's runtime: numpy in, detections out, no torch.

    from pedseg_runtime import Segmenter

    segmenter = Segmenter.load("pedseg.onnx", device="auto")
    detections = segmenter("street.jpg")
    detections.draw(read_image("street.jpg")).save("overlay.png")

Importing it costs numpy; onnxruntime, Pillow and pycocotools are imported when first needed.
"""

import os as _os

from ._version import __version__ as __version__
from .artifact.manifest import Manifest
from .detections import Detections
from .draw import draw_detections, draw_instances
from .errors import (
    ArtifactError,
    CheckpointError,
    ClosedError,
    DatasetError,
    DeadlineError,
    DeviceError,
    DownloadError,
    ExportError,
    InputError,
    ParityError,
    PedsegError,
    QueueFullError,
    TrainingError,
)
from .images import find_images, read_image
from .info import SegmenterInfo
from .parity import FP32, ParityReport, Tolerances, compare
from .segmenter import Segmenter
from .serving.batching import BatchingSegmenter
from .serving.observer import Observer
from .serving.prometheus import PrometheusMetrics
from .serving.requests import BatchingStats
from .serving.shadow import ShadowSegmenter
from .serving.shadow_worker import ShadowReport

# From 1.29 on, onnxruntime reports on models and sessions to its vendor, and its sending
# thread keeps forked processes from ending. It reads this variable when it is first imported.
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "FP32",
    "ArtifactError",
    "BatchingSegmenter",
    "BatchingStats",
    "CheckpointError",
    "ClosedError",
    "DatasetError",
    "DeadlineError",
    "Detections",
    "DeviceError",
    "DownloadError",
    "ExportError",
    "InputError",
    "Manifest",
    "Observer",
    "ParityError",
    "ParityReport",
    "PedsegError",
    "PrometheusMetrics",
    "QueueFullError",
    "Segmenter",
    "SegmenterInfo",
    "ShadowReport",
    "ShadowSegmenter",
    "Tolerances",
    "TrainingError",
    "compare",
    "draw_detections",
    "draw_instances",
    "find_images",
    "read_image",
]
