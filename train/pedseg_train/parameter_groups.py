"""Named parameter groups of a network, to be frozen or trained with their own learning rate."""

from __future__ import annotations

from collections.abc import Iterable

from torchvision.models.detection import MaskRCNN

from .architectures import Architecture

PARAMETER_GROUPS = ("stem", "stage1", "stage2", "stage3", "stage4", "pyramid", "rpn", "box", "mask")
_BODY = "backbone.body."
_PREFIXES = {
    "backbone.fpn.": "pyramid",
    "rpn.": "rpn",
    "roi_heads.box_": "box",
    "roi_heads.mask_": "mask",
}


def parameter_group(parameter: str, model: MaskRCNN, architecture: Architecture) -> str:
    """The group of `PARAMETER_GROUPS` that a parameter belongs to.

    Stage k lies between the outputs k - 1 and k of the body; the part of the first stage that
    torchvision freezes when fine-tuning is the stem.

    Args:
        parameter: its name in `model.named_parameters()`.
        model: of that architecture.
        architecture: names the modules of the body that make the stem and end the stages.
    """
    if not parameter.startswith(_BODY):
        return next(group for prefix, group in _PREFIXES.items() if parameter.startswith(prefix))
    child = parameter.removeprefix(_BODY).partition(".")[0]
    if child in architecture.stem:
        return "stem"
    order = [name for name, _ in model.backbone.body.named_children()]
    ends = [order.index(name) for name, _ in architecture.stages]
    return f"stage{1 + sum(end < order.index(child) for end in ends)}"


def stage_number(group: str) -> int | None:
    """1 to 4 for a group of the body, finest first; None for the others."""
    if group == "stem":
        return 1
    return int(group.removeprefix("stage")) if group.startswith("stage") else None


def freeze(model: MaskRCNN, architecture: Architecture, groups: Iterable[str]) -> None:
    """Exclude exactly these groups from training."""
    frozen = set(groups)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter_group(name, model, architecture) not in frozen)
