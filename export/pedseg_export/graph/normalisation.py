"""Batch norm at inference, as the multiplication and addition that it is."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

Module = TypeVar("Module", bound=nn.Module)


def frozen(module: Module) -> Module:
    """A copy of `module` with every `BatchNorm2d` replaced by the same constants.

    torch's batch norm asks whether its input is empty, which an exporter cannot answer for the
    rows of a head: how many proposals and detections there are depends on the picture.
    """
    copied = copy.deepcopy(module)
    for name, norm in list(copied.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            parent, _, child = name.rpartition(".")
            setattr(copied.get_submodule(parent), child, _constants_of(norm))
    return copied


def _constants_of(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    constants = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
    buffers = dict(constants.named_buffers())
    saved = norm.state_dict()
    constants.load_state_dict({name: saved[name] for name in buffers})
    return constants
