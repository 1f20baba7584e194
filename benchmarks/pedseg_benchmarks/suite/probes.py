"""A detector out of random features: only its last layers learn anything.

Features of a random network still tell places apart. Ridge regression from them to "a person
stands here", on a few images with known people, gives the region proposals, and some steps of
gradient descent on pooled features the box head, scores that are high on these people and low
elsewhere, as training the whole network would, in a minute instead of hours. That matters for a
benchmark: which detections survive is decided with a margin, not by rounding, so that a lower
precision finds what float32 finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

POSITIVE, NEGATIVE = 0.5, 0.3  # IoU with a person; between them the proposals learn nothing
STRENGTH = 2.5  # logits that the fit aims at, on either side of 0
RIDGE = 0.3  # of the features' mean square
STILL = 1e-4  # spread of the layer that moves proposals: it hardly does
MOST_SAMPLES = 4000
BLUR = 0.05  # of a weight

# Of the box head's training.
STEPS, PEOPLE, OTHERS = 150, 128, 384
RATE, DECAY = 3e-4, 0.01
PROPOSALS = 500  # of an image
SHAKE, SHAKES = 0.08, 4  # of a side; boxes per person


@dataclass(frozen=True, slots=True)
class Example:
    """An image and its people.

    Attributes:
        pixels: float32 [3, H, W] in 0..1.
        boxes: float32 [P, 4], x1 y1 x2 y2 in its pixels.
    """

    pixels: Tensor
    boxes: Tensor


@torch.no_grad()
def fit_detector(model: MaskRCNN, examples: Sequence[Example]) -> None:
    """Fit the objectness of the proposals, then train the box head; in eval mode.

    Args:
        model: with a backbone whose normalisation has seen images.
        examples: with at least one person.
    """
    model.eval()
    nn.init.normal_(model.rpn.head.bbox_pred.weight, std=STILL)
    seen = [_Seen.of(model, example) for example in examples]
    # The same images through weights that are a little off, as a lower precision has them, so
    # that the fit relies on nothing that rounding moves.
    backbone = model.backbone
    model.backbone = blurred(backbone)
    seen += [_Seen.of(model, example) for example in examples]
    model.backbone = backbone
    _fit_objectness(model, seen)
    _train_box_head(model, seen)


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


def _train_box_head(model: MaskRCNN, seen: Sequence[_Seen]) -> None:
    """Box head and predictor, on the pooled features of the proposals there are now."""
    heads = model.roi_heads
    pooled, overlaps, moves = [], [], []
    for one in seen:
        proposals, _ = model.rpn(one.images, one.features)
        boxes = _boxes_to_learn_from(proposals[0], one.boxes)
        overlap, person = box_iou(boxes, one.boxes).max(1)
        pooled.append(heads.box_roi_pool(one.features, [boxes], one.images.image_sizes))
        overlaps.append(overlap)
        moves.append(heads.box_coder.encode_single(one.boxes[person], boxes))
    rows, is_person, goals = torch.cat(pooled), torch.cat(overlaps) >= POSITIVE, torch.cat(moves)
    people, others = torch.nonzero(is_person)[:, 0], torch.nonzero(~is_person)[:, 0]
    parameters = [*heads.box_head.parameters(), *heads.box_predictor.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    for step in range(STEPS):
        some = people[torch.randint(len(people), (PEOPLE,))]
        chosen = torch.cat([some, others[torch.randint(len(others), (OTHERS,))]])
        with torch.enable_grad():
            logits, deltas = heads.box_predictor(heads.box_head(rows[chosen]))
            loss = cross_entropy(logits, is_person[chosen].long())
            loss = loss + smooth_l1_loss(deltas[:PEOPLE, 4:], goals[some])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        optimizer.step()


def _boxes_to_learn_from(proposals: Tensor, people: Tensor) -> Tensor:
    """Some of the proposals, the people themselves, and boxes near them, [S, 4]."""
    some = proposals[torch.randperm(len(proposals))[:PROPOSALS]]
    sides = (people[:, 2:] - people[:, :2]).repeat(1, 2)
    near = [people + SHAKE * sides * torch.randn_like(people) for _ in range(SHAKES)]
    return torch.cat([some, people, *near])


def _separate(rows: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and bias that map features [S, C] to logits, positives and negatives balanced."""
    positive, negative = overlap >= POSITIVE, overlap < NEGATIVE
    if not positive.any():  # no anchor of this shape fits a person
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
