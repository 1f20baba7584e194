"""A detector out of random features: the last layers are fitted, nothing is trained.

Features of a random network still tell places apart. Ridge regression from them to "a person
stands here", on a few pictures with known people, gives the region proposals and the box head
scores that are high on these people and low elsewhere, as training would. That matters for a
benchmark: how many proposals and detections survive is decided with a margin, not by rounding, so
that a lower precision finds what float32 finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

POSITIVE, NEGATIVE = 0.5, 0.3  # IoU with a person; between them a box teaches nothing
STRENGTH = 2.5  # logits that the fit aims at, on either side of 0
RIDGE = 0.3  # of the features' mean square
STILL = 1e-4  # spread of the layer that moves proposals: it hardly does
MOST_SAMPLES = 4000
BLUR = 0.05  # of a weight


@dataclass(frozen=True, slots=True)
class Example:
    """A picture and its people.

    Attributes:
        pixels: float32 [3, H, W] in 0..1.
        boxes: float32 [P, 4], x1 y1 x2 y2 in its pixels.
    """

    pixels: Tensor
    boxes: Tensor


@torch.no_grad()
def fit_detector(model: MaskRCNN, examples: Sequence[Example]) -> None:
    """Fit the objectness of the proposals, then scores and boxes of the box head; in eval mode.

    Args:
        model: with a backbone whose normalisation has seen pictures.
        examples: with at least one person.
    """
    model.eval()
    nn.init.normal_(model.rpn.head.bbox_pred.weight, std=STILL)
    seen = [_Seen.of(model, example) for example in examples]
    # The same pictures through weights that are a little off, as a lower precision has them, so
    # that the fit relies on nothing that rounding moves.
    backbone = model.backbone
    model.backbone = blurred(backbone)
    seen += [_Seen.of(model, example) for example in examples]
    model.backbone = backbone
    _fit_objectness(model, seen)
    _fit_box_head(model, seen)


def blurred(trunk: nn.Module) -> nn.Module:
    """A copy whose convolutions have weights off by `BLUR`, relative to each, at random."""
    copy = deepcopy(trunk)
    for module in copy.modules():
        if isinstance(module, nn.Conv2d):
            module.weight *= 1 + BLUR * torch.randn_like(module.weight)
    return copy


@dataclass(frozen=True, slots=True)
class _Seen:
    """An example after the backbone: resized images, their people, and features by level."""

    images: ImageList
    boxes: Tensor
    features: dict[str, Tensor]

    @classmethod
    def of(cls, model: MaskRCNN, example: Example) -> _Seen:
        target = {
            "boxes": example.boxes,
            "labels": torch.ones(len(example.boxes), dtype=torch.long),
        }
        masks = torch.zeros(len(example.boxes), *example.pixels.shape[1:], dtype=torch.uint8)
        images, targets = model.transform([example.pixels], [{**target, "masks": masks}])
        assert targets is not None
        return cls(images, targets[0]["boxes"], model.backbone(images.tensors))


def _fit_objectness(model: MaskRCNN, seen: Sequence[_Seen]) -> None:
    """The 1x1 convolution over the hidden features of every place and level, anchor by anchor."""
    head = model.rpn.head
    count = head.cls_logits.out_channels
    rows: list[list[Tensor]] = [[] for _ in range(count)]
    labels: list[list[Tensor]] = [[] for _ in range(count)]
    for one in seen:
        levels = list(one.features.values())
        hidden = torch.cat([head.conv(level)[0].flatten(1).T for level in levels])  # [places, C]
        (anchors,) = model.rpn.anchor_generator(one.images, levels)
        overlap = box_iou(anchors, one.boxes).amax(1).view(-1, count)  # [places, anchors]
        for anchor in range(count):
            rows[anchor].append(hidden)
            labels[anchor].append(overlap[:, anchor])
    for anchor in range(count):
        weight, bias = _separate(torch.cat(rows[anchor]), torch.cat(labels[anchor]))
        head.cls_logits.weight[anchor, :, 0, 0] = weight
        head.cls_logits.bias[anchor] = bias


def _fit_box_head(model: MaskRCNN, seen: Sequence[_Seen]) -> None:
    """The linear layers over the features of the proposals that the fitted objectness makes."""
    heads = model.roi_heads
    rows, labels, moves = [], [], []
    for one in seen:
        proposals, _ = model.rpn(one.images, one.features)
        pooled = heads.box_roi_pool(one.features, proposals, one.images.image_sizes)
        overlap, person = box_iou(proposals[0], one.boxes).max(1)
        rows.append(heads.box_head(pooled))
        labels.append(overlap)
        moves.append(heads.box_coder.encode_single(one.boxes[person], proposals[0]))
    hidden, overlap = torch.cat(rows), torch.cat(labels)
    predictor = heads.box_predictor
    weight, bias = _separate(hidden, overlap)
    predictor.cls_score.weight.zero_()
    predictor.cls_score.weight[1] = weight
    predictor.cls_score.bias.copy_(torch.tensor([0.0, float(bias)]))
    near = overlap >= NEGATIVE
    goals = torch.cat(moves)[near]
    weights, biases = _ridge(hidden[near], goals, torch.full((len(goals),), 1 / len(goals)))
    predictor.bbox_pred.weight[4:] = weights.T
    predictor.bbox_pred.bias[4:] = biases


def _separate(rows: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and bias that map features [S, C] to logits, positives and negatives balanced."""
    positive, negative = overlap >= POSITIVE, overlap < NEGATIVE
    if not positive.any():  # no anchor of this shape fits anybody
        return torch.zeros(rows.shape[1]), torch.tensor(-STRENGTH)
    chosen = torch.nonzero(negative)[:, 0]
    chosen = chosen[torch.randperm(len(chosen))[:MOST_SAMPLES]]
    yes, no = rows[positive], rows[chosen]
    sides = [(yes, STRENGTH), (no, -STRENGTH)]
    goals = torch.cat([torch.full((len(side), 1), goal) for side, goal in sides])
    shares = torch.cat([torch.full((len(side),), 0.5 / len(side)) for side, _ in sides])
    weights, biases = _ridge(torch.cat([yes, no]), goals, shares)
    return weights[:, 0], biases[0]


def _ridge(rows: Tensor, goals: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [C, G] and biases [G] by least squares with a penalty on the weights.

    Args:
        rows: features [S, C].
        goals: [S, G].
        shares: how much each sample counts, [S], summing to 1.
    """
    design = torch.cat([rows, torch.ones(len(rows), 1)], 1).double()
    weighted = design.T * shares.double()
    square = weighted @ design
    penalty = RIDGE * square.diagonal()[:-1].mean() * torch.eye(len(square), dtype=torch.float64)
    penalty[-1, -1] = 0  # a bias may be as large as it likes
    solution = torch.linalg.solve(square + penalty, weighted @ goals.double()).float()
    return solution[:-1], solution[-1]
