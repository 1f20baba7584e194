"""Run an artifact of any format stage by stage on eager's inputs, and check every stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.backends import open_backend
from pedseg_runtime.backends.torch import TorchScriptBackend
from pedseg_runtime.parity import Settings
from pedseg_train.eager import EagerSegmenter

from ..graph.intermediates import PIXELS
from ..verification import Sample
from .box_checks import DetectionCheck, ProposalCheck
from .checks import (
    LIMITS,
    PastedMaskCheck,
    PreprocessingCheck,
    PyramidCheck,
    SoftMaskCheck,
    StageCheck,
    extent,
)
from .eager_trace import EagerTrace, EagerTracer, repeat_for_batch
from .report import StageReport
from .split_onnx import SplitOnnx
from .split_torch import SplitPt2, SplitTorchScript
from .stage_io import SplitArtifact, StageFailure, StageOutputs, stage_outputs


def split_artifact(path: Path, device: torch.device, levels: int) -> tuple[SplitArtifact, Manifest]:
    """Open the artifact at `path`, split into stages; `levels` is that of its pyramid.

    The runtime loads and checks it first.

    Raises:
        ArtifactError: it is damaged or foreign, or its stages have no names.
        DeviceError: the device does not run it.
    """
    backend = open_backend(path, device=str(device))
    manifest = backend.artifact.manifest
    if not isinstance(backend, TorchScriptBackend):
        backend.close()
        return SplitOnnx(path, manifest, device, levels), manifest
    module = backend.module
    if isinstance(module, torch.jit.ScriptModule):
        return SplitTorchScript(path, module, manifest, device, levels), manifest
    return SplitPt2(path, module, manifest, device, levels), manifest


def examine(
    artifact: Path,
    reference: EagerSegmenter,
    samples: Sequence[Sample],
    *,
    progress: Callable[[int], object] | None = None,
) -> StageReport:
    """Compare every stage of an artifact with eager torchvision's.

    Args:
        artifact: an ONNX, TorchScript or pt2 file of pedseg.
        reference: the eager model, with the artifact's settings; the artifact runs on its device.
        samples: images of any sizes, or of the one size that the artifact is fixed to.
        progress: called with the number of samples done since the last call.

    Raises:
        ArtifactError: the artifact is damaged or foreign, or its stages have no names.
        DeviceError: the device does not run it.
    """
    trace_eager = EagerTracer(reference.model, reference.device)
    levels = len(reference.model.rpn.anchor_generator.sizes)
    stages, manifest = split_artifact(artifact, reference.device, levels)
    names = stage_outputs(levels, manifest.mask_format)
    count = manifest.static_shape[0] if manifest.static_shape else 1
    checks = build_checks(reference.model, manifest)
    for sample in samples:
        eager = trace_eager(sample.image)
        images = np.stack([sample.image] * count)
        found = stages.run(images, repeat_for_batch(eager.values, count))
        same_size = _same_size(eager, found)
        for check, group in zip(checks, names, strict=True):
            if check.reads_size and not same_size:
                check.skip(sample.name, "it reads the size of the resized image, which is wrong")
            else:
                _inspect(check, group, sample.name, eager, found)
        if progress is not None:
            progress(1)
    return StageReport(
        precision=manifest.precision,
        images=len(samples),
        stages=tuple(check.result() for check in checks),
    )


def build_checks(model: MaskRCNN, manifest: Manifest) -> tuple[StageCheck, ...]:
    """One check per stage, in the order of the network."""
    limits = LIMITS[manifest.precision]
    rpn = Settings(-np.inf, model.rpn.nms_thresh, model.rpn.post_nms_top_n())
    head = Settings(manifest.score_threshold, manifest.nms_threshold, manifest.detections_per_image)
    return (
        PreprocessingCheck(limits),
        PyramidCheck(limits),
        ProposalCheck(limits, limits.proposals, rpn),
        DetectionCheck(limits, limits.detections, head),
        SoftMaskCheck(limits),
        PastedMaskCheck(limits),
    )


def _inspect(
    check: StageCheck, group: Sequence[str], image: str, eager: EagerTrace, found: StageOutputs
) -> None:
    """Pass a stage's outputs for an image to its check, or the reason of its failure."""
    for name in group:
        value = found[name]
        if isinstance(value, StageFailure):
            check.fail(image, f"does not run on eager's values: {value.reason}")
            return
    values = {name: value for name, value in found.items() if not isinstance(value, StageFailure)}
    check.inspect(image, eager, values)


def _same_size(eager: EagerTrace, found: StageOutputs) -> bool:
    """Whether the artifact resizes and pads the image to eager's sizes."""
    pixels = found[PIXELS]
    return (
        not isinstance(pixels, StageFailure)
        and pixels.shape[1:] == eager.values[PIXELS].shape[1:]
        and extent(pixels[0]) == eager.resized
    )
