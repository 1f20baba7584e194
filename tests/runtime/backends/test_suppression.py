"""`pedseg::suppress` against torchvision's NMS, which it calls row by row."""

from __future__ import annotations

import pytest

from pedseg_runtime.backends.torch import register_suppression, suppression_by

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")


def test_every_row_is_suppressed_on_its_own() -> None:
    corners = torch.rand(3, 40, 2) * 30
    boxes = torch.cat([corners, corners + 5 + torch.rand(3, 40, 2) * 20], dim=2)
    scores = torch.rand(3, 40)
    scores[2] = 0.05  # nothing above the floor
    kept = suppression_by(torch)(boxes, scores, 0.5, 0.1)
    for row in range(3):
        candidates = torch.nonzero(scores[row] > 0.1).squeeze(1)
        alone = torchvision.ops.nms(boxes[row][candidates], scores[row][candidates], 0.5)
        expected = torch.full((40,), -1.0)
        expected[candidates[alone]] = scores[row][candidates[alone]]
        torch.testing.assert_close(kept[row], expected, rtol=0, atol=0)
    assert 0 < int((kept[:2] > 0).sum()) < int((scores[:2] > 0.1).sum()), "some are suppressed"
    assert bool((kept[2] == -1).all())


def test_the_operator_is_registered_once() -> None:
    register_suppression(torch)
    operator = torch.ops.pedseg.suppress
    register_suppression(torch)
    assert torch.ops.pedseg.suppress is operator
    boxes = torch.tensor([[[0.0, 0.0, 9.0, 9.0], [1.0, 0.0, 9.0, 9.0]]])
    assert operator(boxes, torch.tensor([[0.5, 0.75]]), 0.5, 0.0).tolist() == [[-1.0, 0.75]]
