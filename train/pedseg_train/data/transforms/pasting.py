"""Copy-paste of people from another picture (Ghiasi et al. 2021, "Simple Copy-Paste")."""

from __future__ import annotations

import torch

from ..protocol import Target
from .chance import happens, integer
from .instances import joined, kept, retightened, without_vanished


def paste_people(
    image: torch.Tensor, target: Target, other: torch.Tensor, others: Target
) -> tuple[torch.Tensor, Target]:
    """Paste some people of `other` into `image`, in front of whoever is there.

    Each person is taken with probability 0.5, at least one; all keep their places to each other.
    The pasted picture lies anywhere within the other if it is smaller, and is cut to it if larger.

    Args:
        image: float32 [3, H, W].
        target: its people, with masks uint8 [N, H, W].
        other: float32 [3, H', W'].
        others: its people, with masks uint8 [M, H', W'].

    Returns:
        A new picture and a target with tight boxes, without those who have vanished.
    """
    count = len(others["labels"])
    if not count:
        return image, target
    chosen = torch.tensor([happens(0.5) for _ in range(count)])
    chosen[integer(0, count - 1)] = True
    others = kept(others, chosen)

    here, there = zip(
        *(
            _overlap(own, foreign)
            for own, foreign in zip(image.shape[1:], other.shape[1:], strict=True)
        ),
        strict=True,
    )
    pasted = others["masks"].new_zeros((len(others["labels"]), *image.shape[1:]))
    pasted[:, here[0], here[1]] = others["masks"][:, there[0], there[1]]
    covered = pasted[:, here[0], here[1]].amax(0) != 0

    image, masks = image.clone(), target["masks"].clone()
    view = image[:, here[0], here[1]]
    view.copy_(torch.where(covered, other[:, there[0], there[1]], view))
    masks[:, here[0], here[1]] *= ~covered
    both = joined({**target, "masks": masks}, {**others, "masks": pasted})
    return image, without_vanished(retightened(both))


def _overlap(own: int, foreign: int) -> tuple[slice, slice]:
    """One axis: where a side of `foreign` pixels comes to lie on one of `own`."""
    common = min(own, foreign)
    begin, skip = integer(0, own - common), integer(0, foreign - common)
    return slice(begin, begin + common), slice(skip, skip + common)
