"""What cannot be trained on, by the name of the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pedseg_runtime.errors import TrainingError

NameOf = Callable[[int], str]


def check_targets(targets: Sequence[dict[str, Any]], name_of: NameOf) -> None:
    """Torchvision fails on such boxes too, without saying which picture they are from."""
    for target in targets:
        boxes = target["boxes"]
        bad = (boxes[:, 2:] <= boxes[:, :2]).any(dim=1).nonzero().flatten().tolist()
        if bad:
            raise TrainingError(
                f"{name_of(int(target['image_id']))}: expected boxes with width and height, found "
                f"{boxes[bad[0]].tolist()}; correct or remove that instance"
            )


def check_losses(
    values: Mapping[str, float],
    targets: Sequence[dict[str, Any]],
    name_of: NameOf,
    *,
    epoch: int,
    step: int,
) -> None:
    """Raise TrainingError if a loss is not finite; `epoch` and `step` are counted from 0."""
    if all(math.isfinite(value) for value in values.values()):
        return
    found = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    names = ", ".join(name_of(int(target["image_id"])) for target in targets)
    raise TrainingError(
        f"epoch {epoch + 1}, step {step + 1}: expected finite losses, found {found} on {names}; "
        "lower the learning rate, or look at these pictures' masks"
    )
