"""The eager reference is torchvision's own answer, in pedseg's words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from pedseg_runtime.errors import DeviceError, InputError
from pedseg_train.eager import EagerSegmenter, resolve_device

pytestmark = pytest.mark.slow

CLASSES = ("background", "person")


def test_boxes_labels_and_scores_equal_a_plain_call(tiny_model, noise):
    detections = EagerSegmenter(tiny_model, class_names=CLASSES)(noise)
    with torch.inference_mode():
        expected = tiny_model([torch.from_numpy(noise).permute(2, 0, 1).float() / 255])[0]
    assert len(detections) > 0
    assert np.array_equal(detections.boxes, expected["boxes"])
    assert np.array_equal(detections.labels, expected["labels"])
    assert np.array_equal(detections.scores, expected["scores"])
    assert detections.image_size == noise.shape[:2]


def test_roi_masks_pasted_by_torchvision_are_the_models_own_masks(tiny_model, noise):
    detections = EagerSegmenter(tiny_model, class_names=CLASSES)(noise)
    with torch.inference_mode():
        expected = tiny_model([torch.from_numpy(noise).permute(2, 0, 1).float() / 255])[0]["masks"]
    pasted = paste_masks_in_image(
        torch.from_numpy(detections.roi_masks)[:, None],
        torch.from_numpy(detections.boxes),
        noise.shape[:2],
    )
    assert detections.roi_masks.shape == (len(detections), 28, 28)
    assert torch.equal(pasted, expected)


def test_no_detections_are_empty_arrays(tiny_model, noise):
    tiny_model.roi_heads.score_thresh = 1.0
    detections = EagerSegmenter(tiny_model, class_names=CLASSES)(noise)
    assert detections.boxes.shape == (0, 4)
    assert detections.roi_masks.shape == (0, 28, 28)
    assert detections.labels.dtype == np.int64


def test_hook_is_gone_after_the_call(tiny_model, noise):
    EagerSegmenter(tiny_model, class_names=CLASSES)(noise)
    assert not tiny_model.roi_heads._forward_hooks


def test_noise_moves_answers_a_little_and_repeatably(tiny_model, noise):
    eager = EagerSegmenter(tiny_model, class_names=CLASSES)
    plain, moved, again = (
        eager(noise),
        eager.with_noise(noise, noise=1e-5, seed=1),
        eager.with_noise(noise, noise=1e-5, seed=1),
    )
    assert np.array_equal(moved.boxes, again.boxes)
    assert len(plain) == len(moved) > 0
    distances = np.abs(plain.boxes[:, None] - moved.boxes[None]).max(axis=2).min(axis=1)
    assert 0 < distances.max() < 0.1
    assert np.array_equal(eager(noise).boxes, plain.boxes), "the noise is gone after the call"


def test_no_noise_is_the_plain_answer(tiny_model, noise):
    eager = EagerSegmenter(tiny_model, class_names=CLASSES)
    assert np.array_equal(eager.with_noise(noise, noise=0.0, seed=1).boxes, eager(noise).boxes)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
    ids=["grey", "rgba", "float"],
)
def test_image_of_another_kind_is_refused(tiny_model, image):
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\]"):
        EagerSegmenter(tiny_model, class_names=CLASSES)(image)


def test_read_only_image_is_accepted_without_a_warning(tiny_model, noise):
    segmenter = EagerSegmenter(tiny_model, class_names=CLASSES)
    expected = segmenter(noise).boxes
    noise.setflags(write=False)
    np.testing.assert_array_equal(segmenter(noise).boxes, expected)


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_cuda_without_a_gpu_is_one_line(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match="sees 0 GPUs") as caught:
        resolve_device(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["gpu", "mps", "meta"])
def test_unknown_device_is_refused(device):
    with pytest.raises(DeviceError, match="expected auto, cpu, cuda or cuda:N"):
        resolve_device(device)


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")


def test_what_an_artifact_refuses_eager_refuses_as_well(tiny_model):
    limit = tiny_model.transform.max_size
    eager = EagerSegmenter(tiny_model, class_names=CLASSES)
    with pytest.raises(InputError, match=f"at most {limit} times the shorter one"):
        eager(np.zeros((1, limit + 1, 3), np.uint8))
    assert len(eager(np.zeros((1, limit, 3), np.uint8))) >= 0
    eager._memory = 1000
    with pytest.raises(InputError, match="all the memory that this process may have"):
        eager(np.zeros((30, 30, 3), np.uint8))
