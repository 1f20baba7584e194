"""The stages for CUDA against those they replace, and the whole graph against eager."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pedseg_export.graph import InferenceGraph
from pedseg_export.graph.cuda import CudaProposalStage, filled
from pedseg_export.graph.proposals import ProposalStage
from pedseg_export.verification import generated_samples
from pedseg_train.checkpoint import LoadedCheckpoint
from pedseg_train.models import build_model

pytestmark = pytest.mark.slow


def test_two_stages_of_topk_choose_what_one_does(loaded: LoadedCheckpoint) -> None:
    one, two = ProposalStage(loaded.model), CudaProposalStage(loaded.model)
    for anchors in (192, 8 * 1200, 8 * 3000):
        logits = torch.stack([torch.randperm(anchors) - 500.0 for _ in range(3)])
        best, index = one.best_of_finest(logits)
        found, place = two.best_of_finest(logits)
        assert torch.equal(found, best)
        real = best > -1e30  # the places of padding mean nothing
        assert torch.equal(place[real], index[real])
        assert int(real.sum()) == 3 * min(anchors, one.per_level)


@pytest.mark.parametrize("count", [0, 2, 5])
def test_rows_are_filled_with_zeros(count: int) -> None:
    rows = torch.rand(count, 4)
    assert torch.equal(filled(rows, 5), torch.cat([rows, torch.zeros(5 - count, 4)]))


def outputs(graph: InferenceGraph, images: np.ndarray) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [*graph(torch.from_numpy(images))]


@pytest.mark.parametrize("classes", [1, 3])
def test_outputs_are_those_of_the_graph_for_the_cpu(classes: int, loaded: LoadedCheckpoint) -> None:
    """Each class has rows of NMS, boxes and a mask channel of its own."""
    model = loaded.model
    if classes > 1:
        names = ("background", "person", "rider", "pram")
        model = build_model("maskrcnn_resnet18_fpn", class_names=names, min_size=64, max_size=96)
        model.eval().roi_heads.score_thresh = 0.02
        model.roi_heads.detections_per_img = 40
        model.rpn._post_nms_top_n["testing"] = 200
        score = model.roi_heads.box_predictor.cls_score
        with torch.no_grad():  # nearly equal classes, of which each box prefers another
            score.weight[2:] = score.weight[1] + 0.02 * torch.randn_like(score.weight[2:])
            score.bias[1:] = score.bias[1].clone()
    street = generated_samples()[0].image
    images = np.stack([street, np.zeros_like(street)])
    expected = outputs(InferenceGraph(model), images)
    found = outputs(InferenceGraph(model, device_target="cuda"), images)
    assert len(expected[0]) > 0
    assert len(set(expected[1].tolist())) >= min(classes, 2)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
