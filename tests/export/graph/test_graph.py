"""The inference graph, step by step, against the torchvision function it stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.roi_heads import expand_boxes, paste_masks_in_image
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops import boxes as box_ops

from pedseg_export.graph import InferenceGraph
from pedseg_export.graph.backbone import Backbone, Preprocessing, folded
from pedseg_export.graph.boxes import clip, decode, large_enough
from pedseg_export.graph.heads import AnchorHead
from pedseg_export.graph.nms import suppress_rows
from pedseg_export.graph.pasting import FullMasks, integer_boxes
from pedseg_export.graph.proposals import ProposalStage
from pedseg_export.graph.roi_align import PyramidPooling
from pedseg_export.graph.sizes import _symbolic_size, network_size
from pedseg_export.verification import generated_samples
from pedseg_runtime.detections import Detections
from pedseg_runtime.parity import compare
from pedseg_train.checkpoint import LoadedCheckpoint
from pedseg_train.eager import EagerSegmenter

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
sides = st.integers(16, 900)


def random_boxes(count: int, extent: float = 300.0) -> torch.Tensor:
    corner = torch.rand(count, 2) * extent
    return torch.cat([corner, corner + torch.rand(count, 2) * extent / 2], dim=1)


@given(height=sides, width=sides, min_size=st.sampled_from([200, 320, 800]))
def test_resized_sizes_are_those_of_eager(height: int, width: int, min_size: int) -> None:
    """In float32 one size in seven comes out a pixel off."""
    limit = int(min_size * 1.666)
    scale = min(min_size / min(height, width), limit / max(height, width))
    expected = [math.floor(height * scale), math.floor(width * scale)]
    padded = [32 * math.ceil(side / 32) for side in expected]
    assert network_size(height, width, min_size, limit, 32) == (expected, padded)
    assert _symbolic_size(height, width, min_size, limit, 32) == (expected, padded)


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (536, 559), (397, 396), (16, 320), (301, 17)], ids=str
)
def test_preprocessing_equals_the_transform(height: int, width: int) -> None:
    transform = GeneralizedRCNNTransform(160, 266, MEAN, STD)
    pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
    images, _ = transform([pixels.permute(2, 0, 1).float() / 255])
    tensor, resized = Preprocessing(transform)(pixels[None])
    assert tuple(resized) == images.image_sizes[0]
    assert tensor.shape == images.tensors.shape
    torch.testing.assert_close(tensor, images.tensors, rtol=0, atol=1e-5)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)], ids=str)
def test_decoding_equals_the_box_coder(weights: tuple[float, float, float, float]) -> None:
    anchors, deltas = random_boxes(200), torch.randn(200, 4) * 4
    coder = BoxCoder(weights)
    expected = box_ops.clip_boxes_to_image(coder.decode_single(deltas, anchors), (240, 320))
    found = decode(anchors, deltas / torch.tensor(weights), coder.bbox_xform_clip)
    found = clip(found, torch.tensor([320.0, 240.0, 320.0, 240.0]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_small_boxes_are_removed_as_in_torchvision() -> None:
    boxes = torch.tensor([[0, 0, 1, 1], [0, 0, 0.5, 9], [0, 0, 9, 0.5], [5, 5, 5, 5]])
    kept = torch.nonzero(large_enough(boxes, 0.6)).squeeze(1)
    assert kept.tolist() == box_ops.remove_small_boxes(boxes, 0.6).tolist() == [0]


def test_suppression_keeps_in_each_row_what_nms_keeps() -> None:
    boxes = torch.stack([random_boxes(120, 60.0) for _ in range(5)])
    scores = torch.rand(5, 120)
    scores[3] = -1.0  # a row without candidates
    kept = suppress_rows(boxes, scores, 0.4, 0.1)
    for row in range(5):
        candidates = torch.nonzero(scores[row] > 0.1).squeeze(1)
        survivors = box_ops.nms(boxes[row][candidates], scores[row][candidates], 0.4)
        expected = torch.full((120,), -1.0)
        expected[candidates[survivors]] = scores[row][candidates[survivors]]
        assert torch.equal(kept[row], expected)
    assert (kept[:3] > 0).any()
    assert (kept[3] == -1).all()


@pytest.mark.slow
def test_anchors_by_index_are_those_of_the_generator(loaded: LoadedCheckpoint) -> None:
    """The pooled level has a stride that is no power of two."""
    model, padded = loaded.model, [224, 352]
    grids = [[56, 88], [28, 44], [14, 22], [7, 11], [4, 6]]
    images = ImageList(torch.zeros(1, 3, *padded), [tuple(padded)])
    (expected,) = model.rpn.anchor_generator(images, [torch.zeros(1, 256, *grid) for grid in grids])
    counts = [3 * height * width for height, width in grids]
    stage = ProposalStage(model)
    index = torch.stack([torch.randint(0, count, (stage.per_level,)) for count in counts])
    levels = [torch.zeros(1, 1, *grid) for grid in grids]
    grid = stage.grid_of_slots(levels, padded, torch.device("cpu"))
    slot = index.reshape(1, -1, 1)
    cell, shape = slot // stage.anchors_per_cell, slot % stage.anchors_per_cell
    found = stage.anchors_at(cell, shape, grid[:, 2:3], grid[:, 4:])[0]
    for level, part in enumerate(expected.split(counts)):
        mine = found.view(len(grids), stage.per_level, 4)[level]
        assert torch.equal(mine, part[index[level]])


@pytest.mark.slow
def test_boxes_go_to_the_level_that_the_mapper_chooses(loaded: LoadedCheckpoint) -> None:
    pool = loaded.model.roi_heads.box_roi_pool
    edges = torch.tensor([[0, 0, side, side] for side in (111.999, 112, 112.001, 224, 448, 900)])
    boxes = torch.cat([random_boxes(500, 900.0), edges])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    found = (area[:, None] >= PyramidPooling(pool).areas).sum(1)
    assert torch.equal(found, pool.map_levels([boxes]))
    assert set(found.tolist()) == {0, 1, 2, 3}


def test_folding_batch_norm_changes_no_answer_and_no_original() -> None:
    """The heads of the `_v2` architecture have batch norm, on a number of rows that may be 0."""
    head = MaskRCNNHeads(8, [8, 8], 1, norm_layer=torch.nn.BatchNorm2d)
    head(torch.randn(6, 8, 14, 14))  # statistics of its own
    head.eval()
    copied = folded(head)
    rows = torch.randn(5, 8, 14, 14)
    torch.testing.assert_close(copied(rows), head(rows))
    assert not any("BatchNorm" in type(module).__name__ for module in copied.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in head.modules())


def test_a_norm_without_a_convolution_before_it_stays_as_constants() -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 4, 1))
    module(torch.randn(6, 4, 5, 5))
    module.eval()
    copied = folded(module)
    rows = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(copied(rows), module(rows))
    assert isinstance(copied[0], FrozenBatchNorm2d)


@given(seed=st.integers(0, 2**31), height=st.integers(1, 300), width=st.integers(1, 300))
@settings(max_examples=25)
def test_full_masks_are_torchvisions_bit_for_bit(seed: int, height: int, width: int) -> None:
    """Small and large boxes take different kernels in torch; boxes may touch or leave the image."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(12, 2, generator=generator) * torch.tensor([width, height])
    extent = torch.exp(torch.rand(12, 2, generator=generator) * 6)
    boxes = torch.cat([corner - extent / 2, corner + extent / 2], dim=1)
    masks = torch.rand(12, 1, 28, 28, generator=generator)
    expected = paste_masks_in_image(masks, boxes, (height, width))[:, 0] >= 0.5
    found = FullMasks()(masks[:, 0], boxes, height, width)
    assert found.dtype == torch.uint8
    assert torch.equal(found.bool(), expected)


def test_boxes_are_truncated_as_torchvision_expands_them() -> None:
    boxes = random_boxes(300, 900.0) - 30
    assert torch.equal(integer_boxes(boxes, 28), expand_boxes(boxes, 30 / 28).to(torch.int64))


def test_masks_of_bytes_are_never_padded() -> None:
    """onnxruntime has no CUDA kernel for Pad of uint8: all masks would be copied to the CPU."""
    inputs = (torch.zeros(3, 28, 28), torch.zeros(3, 4), 60, 80)
    program = torch.export.export(FullMasks(), inputs)
    padded = [node.meta["val"].dtype for node in program.graph.nodes if "pad" in str(node.target)]
    assert padded == [torch.float32]


def test_no_detection_has_no_mask() -> None:
    found = FullMasks()(torch.zeros(0, 28, 28), torch.zeros(0, 4), 60, 80)
    assert found.shape == (0, 60, 80)


@pytest.mark.slow
def test_pooling_equals_multi_scale_roi_align(loaded: LoadedCheckpoint) -> None:
    pool = loaded.model.roi_heads.mask_roi_pool
    features = [torch.randn(2, 8, 256 // 2**level, 256 // 2**level) for level in range(4)]
    boxes = [random_boxes(30, 900.0), random_boxes(20, 200.0)]
    named = {str(level): feature for level, feature in enumerate(features)}
    expected = pool(named, boxes, [(1024, 1024)] * 2)
    index = torch.tensor([0] * 30 + [1] * 20)
    pooling, rows = PyramidPooling(pool), torch.cat(boxes)
    pooled, order = pooling(features, rows, index, pooling.level_of(rows))
    assert sorted(order.tolist()) == list(range(50))
    torch.testing.assert_close(pooled, expected[order])


@pytest.mark.slow
def test_boxes_are_ordered_by_level_and_then_neighbours_meet(loaded: LoadedCheckpoint) -> None:
    """Small and large boxes around a few far points: each point's come in one run per level."""
    pooling = PyramidPooling(loaded.model.roi_heads.box_roi_pool)
    point = torch.arange(80).remainder(4)[torch.randperm(80)]
    corner = torch.tensor([[70.0, 70], [900, 70], [70, 900], [60_000, 60_000]])[point]
    corner = corner + 20 * torch.rand(80, 2)
    boxes = torch.cat(
        [corner, corner + torch.tensor([30.0, 300.0])[torch.arange(80) // 40, None]], 1
    )
    level = pooling.level_of(boxes)
    order = pooling.order_of(boxes, level)
    assert (level[order].diff() >= 0).all()
    assert (point[order].diff() != 0).sum() == 7


@pytest.mark.slow
def test_trunk_equals_backbone(loaded: LoadedCheckpoint) -> None:
    pixels = torch.randn(2, 3, 96, 160)
    with torch.inference_mode():
        expected = [*loaded.model.backbone(pixels).values()]
        found = Backbone(loaded.model.backbone)(pixels)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("anchors", [1, 3, 4, 5])
def test_anchor_head_equals_torchvisions(anchors: int) -> None:
    head = RPNHead(8, anchors).eval()
    features = [torch.randn(2, 8, 6, 10), torch.randn(2, 8, 3, 5)]
    with torch.inference_mode():
        logits, deltas = head(features)
        found_logits, found_rows = (mine := AnchorHead(head))(features)
    for level in range(2):
        flat = logits[level].permute(0, 2, 3, 1).flatten(1)
        torch.testing.assert_close(found_logits[level], flat)
        cells = found_rows[level].unflatten(1, [-1, mine.rows])
        expected = deltas[level].permute(0, 2, 3, 1).unflatten(3, [anchors, 4]).flatten(1, 2)
        torch.testing.assert_close(cells[:, :, :anchors], expected)


def run(graph: InferenceGraph, images: list[NDArray[np.uint8]]) -> list[Detections]:
    with torch.inference_mode():
        outputs = graph(torch.from_numpy(np.stack(images)))
    boxes, labels, scores, masks, index = (output.numpy() for output in outputs)
    return [
        Detections(
            boxes=boxes[index == i],
            labels=labels[index == i],
            scores=scores[index == i],
            roi_masks=masks[index == i],
            image_size=image.shape[:2],
        )
        for i, image in enumerate(images)
    ]


@pytest.mark.parametrize("sample", generated_samples(), ids=lambda sample: sample.name)
@pytest.mark.slow
def test_graph_answers_as_eager(sample, loaded: LoadedCheckpoint, eager: EagerSegmenter) -> None:
    found = run(InferenceGraph(loaded.model), [sample.image])
    report = compare([eager(sample.image)], found, score_threshold=loaded.header.score_threshold)
    assert report, report.summary()


@pytest.mark.slow
def test_a_batch_answers_as_its_images_one_by_one(
    loaded: LoadedCheckpoint, eager: EagerSegmenter
) -> None:
    street = generated_samples()[0].image
    images = [street, np.zeros_like(street), street[:, ::-1].copy(), street[::-1].copy()] * 2
    found = run(InferenceGraph(loaded.model), images)
    expected = [eager(image) for image in images]
    assert [len(one) for one in found] == [len(one) for one in expected]
    assert len(found[1]) == 0, "the black frame is the empty street of this batch"
    assert compare(expected, found, score_threshold=loaded.header.score_threshold)


@pytest.mark.slow
def test_three_classes_keep_their_labels_and_masks() -> None:
    """Each class has boxes, an NMS row and a mask channel of its own."""
    from pedseg_train.models import build_model

    names = ("background", "person", "rider", "pram")
    model = build_model("maskrcnn_resnet18_fpn", class_names=names, min_size=64, max_size=96)
    model.eval()
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(4)
    image = generated_samples()[0].image
    expected = EagerSegmenter(model, class_names=names)(image)
    (found,) = run(InferenceGraph(model), [image])
    assert set(expected.labels.tolist()) == {1, 2, 3}
    assert sorted(found.labels.tolist()) == sorted(expected.labels.tolist())
    report = compare(
        [expected],
        [
            Detections(
                **{
                    name: getattr(found, name)
                    for name in ("boxes", "labels", "scores", "roi_masks")
                },
                image_size=found.image_size,
                class_names=names,
            )
        ],
    )
    assert report, report.summary()


def tf32(values: torch.Tensor) -> torch.Tensor:
    """Float32 rounded to the ten bits of mantissa that TF32 keeps."""
    return ((values.contiguous().view(torch.int32) + (1 << 12)) & -(1 << 13)).view(torch.float32)


@pytest.mark.slow
def test_tf32_is_no_float32(loaded: LoadedCheckpoint, eager: EagerSegmenter) -> None:
    """A backend that lets cuDNN round the factors of its convolutions does not pass for fp32."""
    graph = InferenceGraph(loaded.model)
    for module in graph.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.weight = torch.nn.Parameter(tf32(module.weight), requires_grad=False)
            module.register_forward_pre_hook(lambda _module, inputs: (tf32(inputs[0]),))
    image = generated_samples()[0].image
    report = compare(
        [eager(image)], run(graph, [image]), score_threshold=loaded.header.score_threshold
    )
    assert report.counts.matched > 0
    assert not report


def topk_of_cuda(values: torch.Tensor, k: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`topk` as onnxruntime 1.31.1's RadixTopK answers: in blocks filled up with unset entries.

    A block sorts two keys per thread. Entry k of the best goes to thread k % 1024, unset entries
    are the lowest float32, and equal keys keep the order of threads.
    """
    assert dim in (values.ndim - 1, -1)
    if values.ndim > 2:
        rows = topk_of_cuda(values.flatten(0, -2), k, dim=1)
        best, index = (each.unflatten(0, values.shape[:-1]) for each in rows)
        return best, index
    best, index = torch.topk(values, k, dim=1)
    threads = 1024
    keys = best.new_full([len(values), 2 * threads], torch.finfo(torch.float32).min)
    unset = torch.tensor([-(2**62), 2**62])[torch.arange(2 * threads) % 2].repeat(len(values), 1)
    keys[:, :k], unset[:, :k] = best, index
    keys, unset = (each.view(-1, 2, threads).transpose(1, 2).flatten(1) for each in (keys, unset))
    order = keys.argsort(dim=1, descending=True, stable=True)[:, :k]
    return keys.gather(1, order), unset.gather(1, order)


@pytest.mark.slow
@pytest.mark.parametrize("device_target", ["cpu", "cuda"])
def test_unset_entries_of_cudas_topk_change_no_detection(
    device_target: str,
    loaded: LoadedCheckpoint,
    eager: EagerSegmenter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every level of a small image has fewer anchors than slots, down to a handful."""
    image = generated_samples()[0].image
    expected = [eager(image)]
    monkeypatch.setattr(torch.Tensor, "topk", topk_of_cuda)
    found = run(InferenceGraph(loaded.model, device_target=device_target), [image])
    report = compare(expected, found, score_threshold=loaded.header.score_threshold)
    assert report, report.summary()
