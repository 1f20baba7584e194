"""Honest rounding noise, sent through real thresholding, NMS and the cap, must never be a defect.

And the other way round: the same detections with one thing wrong must never pass.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pedseg_runtime.detections import Detections
from pedseg_runtime.parity import compare
from pedseg_runtime.parity.matching import box_iou

pytestmark = pytest.mark.slow

SIZE = (500, 500)


def proposals(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """150 boxes around 12 objects with many nearly equal scores: float64 [150, 4] and [150]."""
    objects = rng.integers(0, 12, 150)
    centre, width = rng.uniform(50, 400, (12, 2))[objects], rng.uniform(20, 100, (12, 2))[objects]
    centre = centre + rng.normal(0, 0.2, centre.shape) * width
    half = width * np.exp(rng.normal(0, 0.15, width.shape)) / 2
    lag = np.abs(rng.normal(0, 1, 150)) * 10 ** rng.uniform(-4, -0.5, 150)
    scores = np.clip(rng.uniform(0.02, 1, 12)[objects] - lag, 0.001, 0.99999)
    return np.concatenate([centre - half, centre + half], axis=1), scores


def postprocess(boxes: np.ndarray, scores: np.ndarray, cap: int) -> Detections:
    """What a detector keeps: scores above 0.05, greedy NMS at 0.5, the best `cap`."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0.05]
    overlap = box_iou(boxes, boxes)
    keep: list[int] = []
    for index in order.tolist():
        if all(overlap[index, other] <= 0.5 for other in keep):
            keep.append(index)
    keep = keep[:cap]
    down, across = np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 28), indexing="ij")
    phase = (boxes[keep] @ [0.7, 1.3, 0.4, 0.9] / 25)[:, None, None]
    radius = np.hypot(down - 0.2 * np.cos(phase), across - 0.2 * np.sin(phase))
    return Detections(
        boxes=boxes[keep].astype(np.float32),
        labels=np.ones(len(keep), np.int64),
        scores=scores[keep].astype(np.float32),
        roi_masks=(1 / (1 + np.exp(8 * (radius - 0.8)))).astype(np.float32),
        image_size=SIZE,
    )


def pasted(side: Detections) -> Detections:
    """The same detections with masks of the whole image, as `--masks full` yields them."""
    return dataclasses.replace(side, roi_masks=None, full_masks=side.masks().astype(np.uint8))


FORMS = pytest.mark.parametrize("form", [lambda side: side, pasted], ids=["soft", "pasted"])


def sides(seed: int, cap: int) -> tuple[list[Detections], list[Detections]]:
    """Six images as one backend sees them, and as one with other rounding does."""
    rng = np.random.default_rng(seed)
    reference, candidate = [], []
    for _ in range(6):
        boxes, scores = proposals(rng)
        reference.append(postprocess(boxes, scores, cap))
        noise = rng.normal(0, 0.003, boxes.shape), rng.normal(0, 5e-6, scores.shape)
        candidate.append(postprocess(boxes + noise[0], scores + noise[1], cap))
    return reference, candidate


@FORMS
@pytest.mark.parametrize("cap", [100, 15], ids=["below the cap", "at the cap"])
def test_rounding_noise_is_never_a_defect(cap, form):
    flips = 0
    for seed in range(8):
        reference, candidate = sides(seed, cap)
        report = compare(reference, [form(side) for side in candidate], detections_per_image=cap)
        assert report, report.reason
        flips += report.counts.benign_flips
    assert flips > 0


def _displaced(detections: Detections, at: int) -> Detections:
    boxes = detections.boxes.copy()
    boxes[at] += 2
    return dataclasses.replace(detections, boxes=boxes)


def _rescored(detections: Detections, at: int) -> Detections:
    scores = detections.scores.copy()
    scores[at] -= 0.002
    return dataclasses.replace(detections, scores=scores)


def _relabelled(detections: Detections, at: int) -> Detections:
    labels = detections.labels.copy()
    labels[at] = 0
    return dataclasses.replace(detections, labels=labels)


def _remasked(detections: Detections, at: int) -> Detections:
    masks = detections.roi_masks.copy()
    masks[at] = masks[at, :, ::-1]
    return dataclasses.replace(detections, roi_masks=masks)


def _doubled(detections: Detections, at: int) -> Detections:
    return detections[[*range(len(detections)), at]]


@pytest.mark.parametrize("harm", [_displaced, _rescored, _relabelled, _remasked, _doubled])
@pytest.mark.parametrize("seed", range(4))
@FORMS
def test_one_wrong_detection_among_three_hundred_fails_the_verdict(harm, seed, form):
    reference, candidate = sides(seed, 100)
    at = int(np.random.default_rng(seed).integers(0, 5))
    candidate[seed] = harm(candidate[seed], at)
    assert not compare(reference, [form(side) for side in candidate])
