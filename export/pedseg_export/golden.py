"""The samples that an artifact tests itself with, wherever it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pedseg_runtime.artifact.self_test import SelfTestSample, encode_samples
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.eager import EagerSegmenter

from .verification import Image, generated_street

# Wide strips first: the longer side meets its limit before the shorter one, so that they stay small
# in the network and a service starts quickly. A strip of 48x320 is a fifth of a usual picture at
# 800 pixels. Usual pictures follow for models that find nobody on a strip.
SHAPES = ((48, 320), (64, 400), (120, 160), (240, 320))
TRIES = 4  # scenes per shape
MOST = 20  # detections per sample: they travel in every copy of the file


def golden_text(
    segmenter: Segmenter, reference: EagerSegmenter, notify: Callable[[str], object]
) -> str:
    """Generated streets with the expected detections, as the artifact carries them.

    One with detections and one without, if the model knows both; never pictures of the user, whose
    people would travel with every copy. Expected is what eager finds; of a lower precision, what
    the artifact itself finds here.

    Args:
        segmenter: the artifact.
        reference: its checkpoint.
        notify: is told if no sample has a detection.
    """
    manifest = segmenter.manifest
    answer = reference if manifest.precision == "fp32" else segmenter
    chosen: dict[bool, SelfTestSample] = {}
    for name, image in _candidates(manifest.static_shape):
        detections = answer(image)
        found = len(detections) > 0
        if found not in chosen and len(detections) <= MOST:
            chosen[found] = SelfTestSample(name, image, detections)
        if len(chosen) == 2:
            break
    if True not in chosen:
        notify("the self-test has no sample with a detection: nothing is found on its streets")
    return encode_samples([chosen[found] for found in sorted(chosen, reverse=True)])


def _candidates(static_shape: tuple[int, int, int] | None) -> Iterator[tuple[str, Image]]:
    """Streets, the cheapest shapes first; the second of each shape is empty."""
    for height, width in [static_shape[1:]] if static_shape else SHAPES:
        for attempt in range(TRIES):
            name = f"street {attempt} ({height}x{width})"
            yield name, generated_street(100 + attempt, height, width, people=attempt != 1)
