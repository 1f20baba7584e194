"""Whether two loops that round differently have learnt the same.

Losses must agree to a thousandth wherever both loops learn from the same boxes. Now and then
rounding makes two proposals with nearly equal scores change places; the sampler, which goes by
places, then draws another box, and the loss is the mean over 255 equal boxes and one other. Such a
flip is no difference of the loops: it is counted and shown, and says nothing for or against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN

LOSS_LIMIT = 1e-3  # relative
SAME_PIXELS = 0.05  # within which two boxes are the same one, as in parity


class DrawnBoxes:
    """The boxes that a network's box head learns from, of its last step.

    Args:
        model: whose pooler is watched.
    """

    def __init__(self, model: MaskRCNN) -> None:
        self._boxes: list[torch.Tensor] = []
        model.roi_heads.box_roi_pool.register_forward_pre_hook(self._keep)

    def _keep(self, _module: torch.nn.Module, inputs: Sequence[Any]) -> None:
        self._boxes = [boxes.detach() for boxes in inputs[1]]

    def same_as(self, other: DrawnBoxes) -> bool:
        """Whether the other network drew the same boxes, in whatever order."""
        return all(
            len(mine) == len(theirs) and _covers(mine, theirs) and _covers(theirs, mine)
            for mine, theirs in zip(self._boxes, other._boxes, strict=True)
        )


def _covers(some: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether each of `others` [M, 4] is close to one of `some` [N, 4]."""
    distances = torch.cdist(others, some, p=float("inf"))
    return bool((distances.amin(dim=1) <= SAME_PIXELS).all())


@dataclass(frozen=True, slots=True)
class Agreement:
    """Losses side by side.

    Attributes:
        reference, engine: the loss of each step.
        same_boxes: whether both drew the same boxes in that step.
    """

    reference: tuple[float, ...]
    engine: tuple[float, ...]
    same_boxes: tuple[bool, ...]

    @property
    def differences(self) -> tuple[float, ...]:
        """Relative difference of the losses of each step."""
        pairs = zip(self.reference, self.engine, strict=True)
        return tuple(abs(mine - theirs) / abs(mine) for mine, theirs in pairs)

    @property
    def largest(self) -> float:
        """The greatest difference of a step with the same boxes; infinite if there is none."""
        pairs = zip(self.differences, self.same_boxes, strict=True)
        return max((difference for difference, same in pairs if same), default=float("inf"))

    @property
    def flips(self) -> int:
        """Steps in which another box was drawn."""
        return self.same_boxes.count(False)

    def __bool__(self) -> bool:
        """Whether the losses agree; nothing compared is no agreement."""
        return self.largest <= LOSS_LIMIT

    def __str__(self) -> str:
        verdict = "equal" if self else "DIFFERENT"
        flips = f"; in {self.flips} of them rounding had another box drawn" if self.flips else ""
        return (
            f"losses of {len(self.reference)} steps: {verdict}, {self.largest:.1e} apart at most "
            f"(limit {LOSS_LIMIT:g}){flips}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {
            "equal": bool(self),
            "limit": LOSS_LIMIT,
            "largest": self.largest if self.flips < len(self.same_boxes) else None,
            "flips": self.flips,
            "reference": list(self.reference),
            "engine": list(self.engine),
            "same_boxes": list(self.same_boxes),
        }
