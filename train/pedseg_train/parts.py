"""The named parts of a network, for freezing some and for training some more slowly."""

from __future__ import annotations

from collections.abc import Iterable

from torchvision.models.detection import MaskRCNN

from .architectures import Architecture

PARTS = ("stem", "stage1", "stage2", "stage3", "stage4", "pyramid", "rpn", "box", "mask")
_BODY = "backbone.body."
_OTHERS = {
    "backbone.fpn.": "pyramid",
    "rpn.": "rpn",
    "roi_heads.box_": "box",
    "roi_heads.mask_": "mask",
}


def part_of(parameter: str, model: MaskRCNN, architecture: Architecture) -> str:
    """The part of `PARTS` that a parameter belongs to.

    Stage k is what lies between the outputs k - 1 and k of the body; of the first stage, what
    torchvision freezes when fine-tuning is the stem.

    Args:
        parameter: its name in `model.named_parameters()`.
        model: of that architecture.
        architecture: says which modules of the body make the stem and end the stages.
    """
    if not parameter.startswith(_BODY):
        return next(part for prefix, part in _OTHERS.items() if parameter.startswith(prefix))
    child = parameter.removeprefix(_BODY).partition(".")[0]
    if child in architecture.stem:
        return "stem"
    order = [name for name, _ in model.backbone.body.named_children()]
    ends = [order.index(name) for name, _ in architecture.stages]
    return f"stage{1 + sum(end < order.index(child) for end in ends)}"


def stage_number(part: str) -> int | None:
    """1 to 4 for a part of the body, finest first; None for the others."""
    if part == "stem":
        return 1
    return int(part.removeprefix("stage")) if part.startswith("stage") else None


def freeze(model: MaskRCNN, architecture: Architecture, parts: Iterable[str]) -> None:
    """Exclude exactly these parts from training."""
    frozen = set(parts)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name, model, architecture) not in frozen)
