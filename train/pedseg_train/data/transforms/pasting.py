"""Copy-paste of people from another image (Ghiasi et al. 2021, "Simple Copy-Paste")."""

from __future__ import annotations

import torch

from ..protocol import Target
from .chance import bernoulli, randint
from .instances import concatenate, drop_invisible, select, with_tight_boxes


def paste_people(
    image: torch.Tensor, target: Target, other: torch.Tensor, other_target: Target
) -> tuple[torch.Tensor, Target]:
    """Paste some people of `other` into `image`, in front of its own.

    Each person is taken with probability 0.5, at least one, and all keep their relative positions.
    A smaller `other` is placed at random within `image`, a larger one is cropped at random.

    Args:
        image: float32 [3, H, W].
        target: of `image`, with masks uint8 [N, H, W].
        other: float32 [3, H', W'].
        other_target: of `other`, with masks uint8 [M, H', W'].

    Returns:
        A new image and a target with tight boxes, without invisible people.
    """
    count = len(other_target["labels"])
    if not count:
        return image, target
    chosen = torch.tensor([bernoulli(0.5) for _ in range(count)])
    chosen[randint(0, count - 1)] = True
    other_target = select(other_target, chosen)

    here, there = zip(
        *(
            _overlap(own, foreign)
            for own, foreign in zip(image.shape[1:], other.shape[1:], strict=True)
        ),
        strict=True,
    )
    pasted = other_target["masks"].new_zeros((len(other_target["labels"]), *image.shape[1:]))
    pasted[:, here[0], here[1]] = other_target["masks"][:, there[0], there[1]]
    covered = pasted[:, here[0], here[1]].amax(0) != 0

    image, masks = image.clone(), target["masks"].clone()
    view = image[:, here[0], here[1]]
    view.copy_(torch.where(covered, other[:, there[0], there[1]], view))
    masks[:, here[0], here[1]] *= ~covered
    both = concatenate({**target, "masks": masks}, {**other_target, "masks": pasted})
    return image, drop_invisible(with_tight_boxes(both))


def _overlap(own: int, foreign: int) -> tuple[slice, slice]:
    """Along one axis, random slices of `own` and `foreign` pixels that coincide."""
    common = min(own, foreign)
    begin, skip = randint(0, own - common), randint(0, foreign - common)
    return slice(begin, begin + common), slice(skip, skip + common)
