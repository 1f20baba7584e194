"""Self-test samples: a few small images with the detections expected on them, in the artifact.

`Segmenter.load` replays them on the device that will serve, so an artifact that computes something
else there is refused before it serves a request. They also warm the device up, so a good set is
small: a few images of one size, each with few people who are found with clear scores.

The expected detections are eager's for float32. A lower precision is compared with its own answers
at export: how far those are from eager is for AP to judge, see `parity.TOLERANCES`. Soft masks are
the better record for masks of the whole image as well: they explain pixels at the threshold.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import ArtifactError, InputError
from ..images import read_image
from ..parity import TOLERANCES, ParityReport, compare
from .manifest import Manifest

VERSION = 1
# Soft masks are rounded to steps of 1 / 65535: a hundredth of the narrowest limit for them.
_SOFT_STEPS = 65535
_FLOAT, _INT, _STEP, _BYTE = "<f4", "<i8", "<u2", "u1"
_UNUSABLE = (ValueError, KeyError, TypeError, AttributeError, zlib.error, InputError)


@dataclass(frozen=True, slots=True, eq=False)
class SelfTestSample:
    """An image and what is expected on it.

    Attributes:
        name: what to call it in a report.
        image: uint8 [H, W, 3] RGB.
        detections: expected on it, with masks of either form.
    """

    name: str
    image: NDArray[np.uint8]
    detections: Detections

    def __post_init__(self) -> None:
        size = (*self.detections.image_size, 3)
        if self.image.dtype != np.uint8 or self.image.shape != size:
            raise InputError(
                f"self-test sample {self.name}: expected an image of uint8 {list(size)}, as its "
                f"detections say, found {self.image.dtype} {list(self.image.shape)}"
            )


class ReplayableSegmenter(Protocol):
    """What can replay samples; see `Segmenter`."""

    @property
    def manifest(self) -> Manifest:
        """What the artifact says of itself."""

    def predict(
        self, images: Sequence[NDArray[np.uint8]], *, batch_size: int
    ) -> Sequence[Detections]:
        """The detections of images, uint8 [H, W, 3] RGB each."""


def encode_samples(samples: Sequence[SelfTestSample]) -> str:
    """The samples as text for an artifact: images as PNG, arrays compressed, all in JSON.

    Raises:
        InputError: the samples have different classes, or soft masks outside 0..1.
    """
    classes = {sample.detections.class_names for sample in samples}
    if len(classes) > 1:
        raise InputError(f"self-test samples: expected the same classes for all, found {classes}")
    return json.dumps(
        {
            "version": VERSION,
            "class_names": next(iter(classes), ()),
            "samples": [_encode(sample) for sample in samples],
        },
        allow_nan=False,
    )


def decode_samples(text: str, source: str = "artifact") -> tuple[SelfTestSample, ...]:
    """The samples that `encode_samples` wrote; `source` names the file in errors.

    Raises:
        ArtifactError: the text holds no samples, or those of a newer version.
    """
    try:
        values = json.loads(text)
        if values["version"] != VERSION:
            raise ValueError(f"version {values['version']}, this pedseg reads {VERSION}")
        classes = tuple(values["class_names"])
        return tuple(_decode(sample, classes) for sample in values["samples"])
    except _UNUSABLE as error:
        raise ArtifactError(
            f"{source}: expected self-test samples, found text that is none "
            f"({type(error).__name__}: {error}); export the checkpoint again with pedseg-export"
        ) from error


def replay(segmenter: ReplayableSegmenter, samples: Sequence[SelfTestSample]) -> ParityReport:
    """Segment the samples' images, in one run per size, and compare with what is expected.

    The limits are those of the artifact's precision. Samples on which nothing is expected and
    nothing is found agree, also where all are so: unlike a comparison with eager, which then has
    shown nothing, a replay has shown that the artifact runs and makes no false detection.

    Raises:
        ArtifactError: an artifact of a precision that has no limits.
        InputError: the samples do not fit the artifact.
    """
    manifest = segmenter.manifest
    if manifest.precision not in TOLERANCES:
        raise ArtifactError(
            f"precision: expected one of {', '.join(TOLERANCES)}, found {manifest.precision!r}; "
            "upgrade pedseg, or export the checkpoint again with this version"
        )
    expected = [sample.detections for sample in samples]
    found = segmenter.predict([sample.image for sample in samples], batch_size=len(samples) or 1)
    report = compare(
        expected,
        found,
        tolerances=TOLERANCES[manifest.precision],
        score_threshold=manifest.score_threshold,
        nms_threshold=manifest.nms_threshold,
        detections_per_image=manifest.detections_per_image,
        min_size=manifest.min_size,
        max_size=manifest.max_size,
        names=[sample.name for sample in samples],
    )
    if samples and report.counts.reference == 0 and report.counts.defects == 0:
        return dataclasses.replace(report, passed=True, reason="no detection expected, none found")
    return report


def warmup_image(samples: Sequence[SelfTestSample], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image to warm up with, uint8 [H, W, 3] RGB of `size` = (H, W).

    It is the sample with most detections, resized, so that every part of the network has something
    to do; without samples it is black.
    """
    from PIL import Image

    if not samples:
        return np.zeros((*size, 3), np.uint8)
    fullest = max(samples, key=lambda sample: len(sample.detections))
    resized = Image.fromarray(fullest.image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _encode(sample: SelfTestSample) -> dict[str, Any]:
    """One sample as plain values for JSON."""
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(sample.image).save(png, "PNG", optimize=True)
    found = sample.detections
    values: dict[str, Any] = {
        "name": sample.name,
        "image": base64.b64encode(png.getvalue()).decode("ascii"),
        "boxes": _pack(found.boxes, _FLOAT),
        "labels": _pack(found.labels, _INT),
        "scores": _pack(found.scores, _FLOAT),
    }
    if found.roi_masks is None:
        return {**values, "full_masks": _pack(np.packbits(found.masks()), _BYTE)}
    soft = found.roi_masks
    if not ((soft >= 0) & (soft <= 1)).all():
        raise InputError(
            f"self-test sample {sample.name}: expected soft masks in 0..1, found others"
        )
    steps = np.rint(soft.astype(np.float64) * _SOFT_STEPS)
    return {**values, "mask_size": soft.shape[-1], "roi_masks": _pack(steps, _STEP)}


def _decode(values: dict[str, Any], class_names: tuple[str, ...]) -> SelfTestSample:
    """One sample from plain values."""
    image = read_image(base64.b64decode(values["image"], validate=True))
    height, width = image.shape[:2]
    labels = _unpack(values["labels"], _INT, (-1,))
    count = len(labels)
    roi_masks = full_masks = None
    if "roi_masks" in values:
        size = int(values["mask_size"])
        steps = _unpack(values["roi_masks"], _STEP, (count, size, size))
        roi_masks = (steps / _SOFT_STEPS).astype(np.float32)
    else:
        pixels = count * height * width
        bits = _unpack(values["full_masks"], _BYTE, (math.ceil(pixels / 8),))
        full_masks = np.unpackbits(bits, count=pixels).reshape(count, height, width)
    return SelfTestSample(
        str(values["name"]),
        image,
        Detections(
            boxes=_unpack(values["boxes"], _FLOAT, (count, 4)),
            labels=labels,
            scores=_unpack(values["scores"], _FLOAT, (count,)),
            roi_masks=roi_masks,
            full_masks=full_masks,
            image_size=(height, width),
            class_names=class_names,
        ),
    )


def _pack(array: NDArray[Any], dtype: str) -> str:
    """The array's little-endian bytes, compressed, as text."""
    return base64.b64encode(zlib.compress(array.astype(dtype).tobytes(), 9)).decode("ascii")


def _unpack(text: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array of `shape` that `_pack` wrote, in the machine's byte order; or a ValueError."""
    content = zlib.decompress(base64.b64decode(text, validate=True))
    stored = np.frombuffer(content, dtype).reshape(shape)
    return stored.astype(stored.dtype.newbyteorder("="))
