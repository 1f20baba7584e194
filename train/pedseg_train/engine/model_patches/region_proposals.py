"""The region proposal network, differentiated only where its loss looks.

Its head computes an answer for every anchor of every cell, hundreds of thousands of them. All are
needed to propose regions, which is done without gradients in torchvision, too. The loss reads a few
hundred sampled ones. Differentiating the dense convolution costs twice its own time and is the
largest part of a step next to the mask head; here the answers of the sampled anchors are computed a
second time, from the 3 x 3 cells around each of them. Losses and gradients are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)

_BETA = 1 / 9  # where the box loss turns from squared to linear, torchvision's

Targets = list[dict[str, torch.Tensor]]


def differentiate_samples_only(model: MaskRCNN) -> bool:
    """Change the model's RPN in place; False for a head of several convolutions, left as it is."""
    head: RPNHead = model.rpn.head
    if len(head.conv) != 1:
        return False
    model.rpn.__class__ = _SampledProposalNetwork
    return True


class _SampledProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]
    """Torchvision's, but for what its docstring above says; in eval mode torchvision's own."""

    def forward(
        self, images: ImageList, features: dict[str, torch.Tensor], targets: Targets | None = None
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Boxes per image float32 [P, 4] in pixels of the batch, and the two losses."""
        if not self.training or targets is None:
            found: tuple[list[torch.Tensor], dict[str, torch.Tensor]] = super().forward(
                images, features, targets
            )
            return found
        levels = list(features.values())
        with torch.no_grad():
            objectness, deltas = self.head(levels)
            anchors = self.anchor_generator(images, levels)
            counts = [level[0].numel() for level in objectness]
            objectness, deltas = concat_box_prediction_layers(objectness, deltas)
            proposals = self.box_coder.decode(deltas, anchors).view(len(anchors), -1, 4)
            boxes, _ = self.filter_proposals(proposals, objectness, images.image_sizes, counts)
            labels, matched = self.assign_targets_to_anchors(anchors, targets)
            positive, negative = (
                torch.where(torch.cat(chosen))[0] for chosen in self.fg_bg_sampler(labels)
            )
            sampled = torch.cat([positive, negative])
            expected = self.box_coder.encode_single(
                torch.cat(matched)[positive], torch.cat(anchors)[positive]
            )
        logits, offsets = sampled_answers(self.head, levels, sampled)
        box_loss = F.smooth_l1_loss(
            offsets[: len(positive)], expected, beta=_BETA, reduction="sum"
        ) / max(1, len(sampled))
        losses = {
            "loss_objectness": F.binary_cross_entropy_with_logits(
                logits, torch.cat(labels)[sampled]
            ),
            "loss_rpn_box_reg": box_loss,
        }
        return boxes, losses


def sampled_answers(
    head: RPNHead, levels: Sequence[torch.Tensor], anchors: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What an RPN head of one 3 x 3 convolution says of some anchors.

    Args:
        head: torchvision's.
        levels: features [N, C, H, W] per level.
        anchors: int64 [S], positions in torchvision's order: image, level, row, column, anchor.

    Returns:
        Logits float32 [S] and box offsets float32 [S, 4].
    """
    kinds = head.cls_logits.out_channels
    sizes = [level.shape[2] * level.shape[3] * kinds for level in levels]
    image, rest = anchors // sum(sizes), anchors % sum(sizes)
    patches = levels[0].new_empty((len(anchors), 9 * levels[0].shape[1]))
    first = 0
    for level, size in zip(levels, sizes, strict=True):
        (here,) = torch.where((rest >= first) & (rest < first + size))
        cells = (rest[here] - first) // kinds
        width = level.shape[3]
        # index_copy, since autograd must see where the patches come from.
        patches = patches.index_copy(
            0, here, _neighbourhoods(level, image[here], cells // width, cells % width)
        )
        first += size
    convolution = head.conv[0][0]
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    hidden = F.linear(patches, weight, convolution.bias).relu()
    logits, offsets = (
        F.linear(hidden, _matrix(part.weight), part.bias)
        for part in (head.cls_logits, head.bbox_pred)
    )
    row, kind = torch.arange(len(anchors), device=anchors.device), rest % kinds
    return logits[row, kind].float(), offsets.view(-1, kinds, 4)[row, kind].float()


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    """A 1 x 1 convolution's weights [O, C, 1, 1] -> [O, C].

    In the way that gives the gradient the weight's own strides; DistributedDataParallel wants them.
    """
    return weight.flatten(1) if weight.stride(3) == 1 else weight.permute(0, 2, 3, 1).flatten(1)


def _neighbourhoods(
    level: torch.Tensor, image: torch.Tensor, row: torch.Tensor, column: torch.Tensor
) -> torch.Tensor:
    """The 3 x 3 cells around some, zero beyond the border: [S, 9 C] by row, column, channel."""
    _, channels, height, width = level.shape
    around = torch.arange(-1, 2, device=level.device)
    rows = (row[:, None] + around)[:, :, None].expand(-1, 3, 3)
    columns = (column[:, None] + around)[:, None, :].expand(-1, 3, 3)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    cells = level.permute(0, 2, 3, 1)[
        image[:, None, None].expand(-1, 3, 3),
        rows.clamp(0, height - 1),
        columns.clamp(0, width - 1),
    ]
    return (cells * inside[..., None]).reshape(-1, 9 * channels)
