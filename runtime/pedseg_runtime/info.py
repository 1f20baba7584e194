"""What a loaded segmenter is, for a health page, a log line or a bug report."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._version import __version__
from .backends import Backend, Placement
from .containers import cpu_quota


@dataclass(frozen=True, slots=True)
class SegmenterInfo:
    """An artifact on a device.

    Attributes:
        artifact: path of the file.
        digest: SHA-256 of its content before the checksum, 64 hex digits: `head -c -64 FILE |
            sha256sum` gives the same.
        format, architecture, precision, mask_format, class_names: as in the `Manifest`.
        static_shape: (N, H, W) that the graph is fixed to; None if it takes any.
        thresholds: the score and NMS thresholds and the most detections per image, all built in.
        provider: what really runs it, e.g. `CUDAExecutionProvider`.
        threads: CPU threads of one run; None where the library takes all cores.
        cpu_quota: CPUs' worth of time that containers leave to the process; None without a limit.
            `threads` follows it unless it was set.
        placement: which provider runs how many nodes of each operator, as onnxruntime divided the
            graph, or the layers of the graph that OpenVINO compiled; None for torch, which has one
            device.
        self_test: the outcome of the self-test, see `Segmenter`.
        versions: of Python and of the libraries that run it here.
        exported_with: of the libraries that made the file.
    """

    artifact: str
    digest: str
    format: str
    architecture: str
    precision: str
    mask_format: str
    class_names: tuple[str, ...]
    static_shape: tuple[int, int, int] | None
    thresholds: Mapping[str, float]
    provider: str
    threads: int | None
    cpu_quota: float | None
    placement: Placement | None
    self_test: str
    versions: Mapping[str, str]
    exported_with: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def nodes(self) -> dict[str, int]:
        """The number of nodes of each provider; empty for torch."""
        placement = self.placement or {}
        return {provider: sum(operators.values()) for provider, operators in placement.items()}


def describe(backend: Backend, self_test: str) -> SegmenterInfo:
    """Collect what `backend` and its artifact say of themselves."""
    artifact = backend.artifact
    manifest = artifact.manifest
    library, version = backend.library.split(" ", 1)
    return SegmenterInfo(
        artifact=str(artifact.path),
        digest=artifact.digest,
        format=manifest.format,
        architecture=manifest.architecture,
        precision=manifest.precision,
        mask_format=manifest.mask_format,
        class_names=manifest.class_names,
        static_shape=manifest.static_shape,
        thresholds={
            "score_threshold": manifest.score_threshold,
            "nms_threshold": manifest.nms_threshold,
            "detections_per_image": manifest.detections_per_image,
        },
        provider=backend.provider,
        threads=backend.threads,
        cpu_quota=cpu_quota(),
        placement=backend.placement,
        self_test=self_test,
        versions={
            "pedseg": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            library: version,
        },
        exported_with=dict(manifest.versions),
    )
