"""Run an artifact stage by stage on eager's inputs, and judge every stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torchvision.models.detection import MaskRCNN

from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.parity import Settings
from pedseg_train.eager import EagerSegmenter

from ..graph.taps import PIXELS
from ..verification import Sample
from .borders import Failed, Found, groups
from .box_judges import FoundObjects, Proposals
from .cutting import cut
from .judges import Judge, Pasted, Preprocessing, Pyramid, SoftMasks, extent
from .limits import LIMITS
from .passage import EagerPassages, Passage, of_batch
from .report import StageReport


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
        progress: is told how many more samples are done.

    Raises:
        ArtifactError: the artifact is damaged or foreign, or its stages cannot be told apart.
        DeviceError: the device does not run it.
    """
    eager = EagerPassages(reference.model, reference.device)
    levels = len(reference.model.rpn.anchor_generator.sizes)
    stages, manifest = cut(artifact, reference.device, levels)
    names = groups(levels, manifest.mask_format)
    count = manifest.static_shape[0] if manifest.static_shape else 1
    judges = judges_of(reference.model, manifest)
    for sample in samples:
        passage = eager(sample.image)
        images = np.stack([sample.image] * count)
        found = stages.run(images, of_batch(passage.values, count))
        same_size = _same_size(passage, found)
        for judge, group in zip(judges, names, strict=True):
            if judge.reads_size and not same_size:
                judge.skip(sample.name, "it reads the size of the resized image, which is wrong")
            else:
                _look(judge, group, sample.name, passage, found)
        if progress is not None:
            progress(1)
    return StageReport(
        precision=manifest.precision,
        images=len(samples),
        stages=tuple(judge.result() for judge in judges),
    )


def judges_of(model: MaskRCNN, manifest: Manifest) -> tuple[Judge, ...]:
    """One judge per stage, in the order of the network."""
    limits = LIMITS[manifest.precision]
    rpn = Settings(-np.inf, model.rpn.nms_thresh, model.rpn.post_nms_top_n())
    head = Settings(manifest.score_threshold, manifest.nms_threshold, manifest.detections_per_image)
    return (
        Preprocessing(limits),
        Pyramid(limits),
        Proposals(limits, limits.proposals, rpn),
        FoundObjects(limits, limits.detections, head),
        SoftMasks(limits),
        Pasted(limits),
    )


def _look(judge: Judge, group: Sequence[str], image: str, eager: Passage, found: Found) -> None:
    """Let a judge see what its stage made of an image, unless it made nothing."""
    for name in group:
        value = found[name]
        if isinstance(value, Failed):
            judge.fail(image, f"does not run on eager's values: {value.reason}")
            return
    values = {name: value for name, value in found.items() if not isinstance(value, Failed)}
    judge.look(image, eager, values)


def _same_size(eager: Passage, found: Found) -> bool:
    """Whether the artifact resizes and pads the image to eager's sizes."""
    pixels = found[PIXELS]
    return (
        not isinstance(pixels, Failed)
        and pixels.shape[1:] == eager.values[PIXELS].shape[1:]
        and extent(pixels[0]) == eager.resized
    )
