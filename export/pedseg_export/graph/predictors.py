"""The heads' last layers without unused outputs.

torchvision predicts a box and a mask for the background too, and runs two convolutions on the same
feature map for the scores and the regressions of anchors.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead

from .normalisation import folded

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)
COORDINATES = 4


def foreground(layer: Layer, per_class: int) -> Layer:
    """A copy of `layer` without its first `per_class` outputs, those of the background."""
    rest = copy.deepcopy(layer)
    rest.weight = nn.Parameter(layer.weight[per_class:].clone())
    if layer.bias is not None:
        rest.bias = nn.Parameter(layer.bias[per_class:].clone())
    return rest


class AnchorHead(nn.Module):
    """torchvision's `RPNHead` with one convolution for scores and regressions.

    A cell of the grid has A anchors. Its channels are laid out as rows of four: A rows of
    regressions, then the A logits, padded with zeros.

    Attributes:
        anchors: A.
        rows: rows per cell.
    """

    def __init__(self, head: RPNHead, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        plain = folded(head)
        scores, boxes = plain.cls_logits, plain.bbox_pred
        self.anchors = int(scores.out_channels)
        self.rows = self.anchors + -(-self.anchors // COORDINATES)
        self.conv = plain.conv.to(dtype)
        self.predictor = nn.Conv2d(boxes.in_channels, self.rows * COORDINATES, 1, dtype=dtype)
        self.logits = (boxes.out_channels, boxes.out_channels + scores.out_channels)
        unused = self.rows * COORDINATES - boxes.out_channels - scores.out_channels
        with torch.no_grad():
            for name in ("weight", "bias"):
                parts = [getattr(boxes, name), getattr(scores, name)]
                padding = parts[0].new_zeros([unused, *parts[0].shape[1:]])
                getattr(self.predictor, name).copy_(torch.cat([*parts, padding]))

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Scores and regressions of the anchors of every level [N, C, h, w].

        Returns:
            Logits [N, h * w * A] and rows [N, h * w * rows, 4] of each level.
        """
        logits: list[Tensor] = []
        rows: list[Tensor] = []
        for feature in features:
            cells = self.predictor(self.conv(feature)).permute(0, 2, 3, 1)  # [N, h, w, rows * 4]
            logits.append(cells[..., self.logits[0] : self.logits[1]].flatten(1))
            rows.append(cells.reshape(cells.shape[0], -1, 4))
        return logits, rows
