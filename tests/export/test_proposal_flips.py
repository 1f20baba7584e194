"""Flips inside the network, made on purpose: an NMS threshold on either side of an overlap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torchvision.ops import box_iou

from pedseg_export import verification
from pedseg_export.verification import NOISES, TRIALS, generated_samples, rerun, verify
from pedseg_runtime.artifact.manifest import Manifest
from pedseg_runtime.detections import Detections
from pedseg_runtime.parity import flip_analysis
from pedseg_train.checkpoint import LoadedCheckpoint, load_checkpoint
from pedseg_train.eager import EagerSegmenter

pytestmark = pytest.mark.slow

CLOSE = 1e-6  # of an IoU: as near as rounding brings two of them


@pytest.fixture
def network(checkpoint) -> LoadedCheckpoint:
    """One of this test's own, since its NMS is moved."""
    return load_checkpoint(checkpoint)


def overlaps(eager: EagerSegmenter, image: Any) -> list[float]:
    """IoU of the proposals that a lower threshold of the RPN's NMS would tell apart."""
    kept: list[torch.Tensor] = []
    heads = eager.model.roi_heads
    hook = heads.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[1][0]))
    eager(image)
    hook.remove()
    iou = box_iou(kept[0], kept[0]).triu(1)
    return iou[(iou > 0.6) & (iou < eager.model.rpn.nms_thresh)].tolist()


def answering(detections: Detections, manifest: Manifest) -> Any:
    """A `Segmenter` of one answer."""
    return SimpleNamespace(manifest=manifest, predict=lambda _images, **_options: [detections])


def test_what_an_rpn_decides_by_rounding_is_no_defect(network, onnx_artifact, monkeypatch):
    eager = EagerSegmenter(network.model, class_names=network.header.class_names)
    sample, rpn = generated_samples()[0], network.model.rpn
    for overlap in overlaps(eager, sample.image):
        rpn.nms_thresh = overlap + CLOSE
        other = answering(eager(sample.image), onnx_artifact.segmenter.manifest)
        rpn.nms_thresh = overlap - CLOSE
        report = verify(other, eager, [sample])
        margins = {flip.noise_margin for flip in report.unmatched} - {None}
        if report and margins:
            break
    else:
        pytest.fail("no proposal at the threshold led to a detection")
    assert margins <= {*NOISES}
    monkeypatch.setattr(verification, "rerun", lambda *_: iter(()))
    assert not verify(other, eager, [sample]), "nothing else explains it"


def test_noise_rises_and_is_never_more_than_the_tolerance(eager):
    image = generated_samples()[0].image
    noises = [noise for noise, _ in rerun(eager, image)]
    assert noises == sorted(noises)
    assert len(noises) == len(NOISES) * TRIALS
    assert noises[-1] == 1e-4


def test_proposals_of_another_threshold_are_no_close_calls(network, onnx_artifact, monkeypatch):
    """Even if there were agreeing detections enough to ask for reruns."""
    monkeypatch.setattr(flip_analysis, "MAX_DEFECT_SHARE", 1e9)
    eager = EagerSegmenter(network.model, class_names=network.header.class_names)
    sample, rpn = generated_samples()[0], network.model.rpn
    expected, rpn.nms_thresh = rpn.nms_thresh, 0.8
    other = answering(eager(sample.image), onnx_artifact.segmenter.manifest)
    rpn.nms_thresh = expected
    noises = []

    def watched(*arguments: Any) -> Any:
        for noise, found in rerun(*arguments):
            noises.append(noise)
            yield noise, found

    monkeypatch.setattr(verification, "rerun", watched)
    assert not verify(other, eager, [sample])
    assert len(noises) == len(NOISES) * TRIALS
