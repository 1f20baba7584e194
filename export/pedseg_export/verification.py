"""Compare an artifact in the runtime with its checkpoint in eager PyTorch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from pedseg_runtime.detections import Detections
from pedseg_runtime.errors import InputError, summarize
from pedseg_runtime.parity import FP32, ParityReport, Rerun, Tolerances, compare
from pedseg_runtime.segmenter import Segmenter
from pedseg_train.eager import EagerSegmenter
from pedseg_train.synthetic.street import draw_street

Image = NDArray[np.uint8]
CHUNK = 8  # images in memory per step
MIN_AGREEMENT = 0.8  # of all detections of a lower precision and of eager's
NOISES = (1e-5, 3e-5, 1e-4)  # on the RPN's logits, up to the tolerance of scores
TRIALS = 4  # per noise
SMALLEST_SCENE = 48  # pixels; people in generated streets are hardly smaller


@dataclass(frozen=True)
class Sample:
    """An image to compare on, uint8 [H, W, 3] RGB, and its name in the report."""

    name: str
    image: Image


@dataclass(frozen=True)
class Failure:
    """A sample that could not be read or segmented, and why."""

    name: str
    error: Exception

    @property
    def is_refusal(self) -> bool:
        """Whether the image cannot be used, which says nothing about the artifact."""
        return isinstance(self.error, InputError)

    def __str__(self) -> str:
        reason = re.sub(r"^image( \d+)?: ", "", summarize(self.error))  # counted in its chunk
        return reason if self.name in reason else f"{self.name}: {reason}"


def agrees(report: ParityReport, precision: str) -> bool:
    """Whether an artifact of `precision` passes the comparison.

    In a lower precision all detections change a little, and the AP gate decides whether the loss is
    acceptable. Here such an artifact only has to find most of the same objects.
    """
    if precision == "fp32":
        return bool(report)
    most = max(report.counts.reference, report.counts.candidate, 1)
    return report.counts.matched / most >= MIN_AGREEMENT


def generated_samples(static_shape: tuple[int, int, int] | None = None) -> list[Sample]:
    """Scenes that cover the known failures of exports.

    Three of one size run as a batch with an empty street in the middle; 375x500 is a size that
    float32 arithmetic resizes wrongly; tall, wide and tiny images follow. With a fixed shape
    (N, H, W) all are of that size, and the last batch is not full.
    """
    streets = [
        ("batch", 240, 320, True),
        ("empty in a batch", 240, 320, False),
        ("batch", 240, 320, True),
        ("float32 trap", 375, 500, True),
        ("tall", 420, 160, True),
        ("wide", 150, 440, True),
        ("tiny", 64, 48, False),
    ]
    if static_shape is not None:
        count, height, width = static_shape
        kinds = [("batch", True), ("empty in a batch", False), *[("batch", True)] * (count + 1)]
        streets = [(kind, height, width, people) for kind, people in kinds]
    return [
        Sample(
            f"street {index} ({kind}, {height}x{width})",
            generated_street(index, height, width, people=people),
        )
        for index, (kind, height, width, people) in enumerate(streets)
    ]


def generated_street(seed: int, height: int, width: int, *, people: bool) -> Image:
    """A generated scene of that size with people, or without, uint8 [H, W, 3].

    Sizes below `SMALLEST_SCENE` show a larger scene, scaled down.
    """
    scale = max(1, -(-SMALLEST_SCENE // min(height, width)))
    scenes = (
        draw_street(
            np.random.default_rng([seed, attempt]), width=scale * width, height=scale * height
        )
        for attempt in itertools.count()
    )
    image = next(image for image, ids in scenes if ids.any() == people)
    return image if scale == 1 else np.asarray(PIL.Image.fromarray(image).reduce(scale))


def rerun(reference: EagerSegmenter, image: Image) -> Iterator[Rerun]:
    """Repeat the detection with a little noise on the RPN, to find what rounding may decide."""
    for noise in NOISES:
        for seed in range(TRIALS):
            yield noise, reference.with_noise(image, noise=noise, seed=seed)


def verify(
    segmenter: Segmenter,
    reference: EagerSegmenter,
    samples: Sequence[Sample],
    *,
    tolerances: Tolerances = FP32,
    batch_size: int = 3,
    progress: Callable[[int], object] | None = None,
    on_failure: Callable[[Failure], object] | None = None,
) -> ParityReport:
    """Compare an artifact with the eager reference.

    Args:
        segmenter: the artifact, opened by the runtime that will serve it.
        reference: the checkpoint; rerun with noise where a difference of a float32 artifact is not
            explained by its detections.
        samples: images of any sizes; those of one size run in batches.
        tolerances: the largest differences that count as agreement.
        batch_size: largest number of images in one run of the artifact.
        progress: called with the number of samples done since the last call.
        on_failure: called with each sample that one side cannot segment; it is left out. None
            raises the error instead.
    """
    manifest = segmenter.manifest
    is_exact = manifest.precision == "fp32"
    found: list[Detections] = []
    expected: list[Detections] = []
    compared: list[Sample] = []
    for start in range(0, len(samples), CHUNK):
        chunk = samples[start : start + CHUNK]
        images = [sample.image for sample in chunk]
        answers = segmenter.predict(images, batch_size=batch_size, on_error="return")
        for sample, answer in zip(chunk, answers, strict=True):
            try:
                if isinstance(answer, Exception):
                    raise answer
                expected.append(reference(sample.image))
            except Exception as error:  # any: it is this sample's
                if on_failure is None:
                    raise
                on_failure(Failure(sample.name, error))
            else:
                found.append(answer)
                compared.append(sample)
        if progress is not None:
            progress(len(images))
    return compare(
        expected,
        found,
        tolerances=tolerances,
        score_threshold=manifest.score_threshold,
        nms_threshold=manifest.nms_threshold,
        detections_per_image=manifest.detections_per_image,
        min_size=manifest.min_size,
        max_size=manifest.max_size,
        names=[sample.name for sample in compared],
        reruns=(lambda at: rerun(reference, compared[at].image)) if is_exact else None,
    )
