"""The exponential moving average of the weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN


class WeightAverage:
    """A second network whose weights follow those that are trained.

    The decay grows from 0.1 towards its full value as (1 + t) / (10 + t) at step t, so that the
    starting weights are forgotten in a short run, too. Batch norm statistics are averaged as well.

    Args:
        model: is copied.
        decay: share of the average that a step leaves, 0..1.

    Attributes:
        model: the averaged network.
    """

    def __init__(self, model: MaskRCNN, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, model: MaskRCNN) -> None:
        """Follow `model` by one step."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        mine, theirs = self.model.state_dict(), model.state_dict()
        floats = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [mine[name] for name in floats], [theirs[name] for name in floats], 1 - decay
        )
        for name in mine.keys() - set(floats):
            mine[name].copy_(theirs[name])

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"model": self.model.state_dict(), "steps": self._steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `saved` was made."""
        self.model.load_state_dict(saved["model"])
        self._steps = saved["steps"]
