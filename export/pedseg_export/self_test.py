"""The samples of an artifact's self-test, which runs whenever it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pedseg_runtime.artifact.self_test import SelfTestSample, encode_samples
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.eager import EagerSegmenter

from .verification import Image, generated_street

# Wide strips first: their longer side reaches max_size first, so that they stay small in the
# network and a service starts quickly: 48x320 is about a fifth of a usual image at 800 pixels.
# Usual shapes follow for models without a detection on a strip.
SHAPES = ((48, 320), (64, 400), (120, 160), (240, 320))
SCENES_PER_SHAPE = 4
MAX_DETECTIONS = 20  # per sample: they are stored in every copy of the artifact


def self_test_text(
    segmenter: Segmenter, reference: EagerSegmenter, notify: Callable[[str], object]
) -> str:
    """Generated scenes with their expected detections, encoded for the artifact.

    One scene with detections and one without, if the model finds both. Images of the user are never
    stored: their people would be in every copy. The expected detections are eager's for fp32, and
    the artifact's own for a lower precision.

    Args:
        segmenter: the artifact.
        reference: its checkpoint.
        notify: called with a message if no sample has a detection.
    """
    manifest = segmenter.manifest
    predict = reference if manifest.precision == "fp32" else segmenter
    chosen: dict[bool, SelfTestSample] = {}
    for name, image in _candidates(manifest.static_shape):
        detections = predict(image)
        found = len(detections) > 0
        if found not in chosen and len(detections) <= MAX_DETECTIONS:
            chosen[found] = SelfTestSample(name, image, detections)
        if len(chosen) == 2:
            break
    if True not in chosen:
        notify(
            "the self-test has no sample with a detection: the model finds none on generated scenes"
        )
    return encode_samples([chosen[found] for found in sorted(chosen, reverse=True)])


def _candidates(static_shape: tuple[int, int, int] | None) -> Iterator[tuple[str, Image]]:
    """Named scenes, the cheapest shapes first; the second of each shape is without people."""
    for height, width in [static_shape[1:]] if static_shape else SHAPES:
        for attempt in range(SCENES_PER_SHAPE):
            name = f"street {attempt} ({height}x{width})"
            yield name, generated_street(100 + attempt, height, width, people=attempt != 1)
