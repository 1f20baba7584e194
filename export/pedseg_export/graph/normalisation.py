"""Batch norm at inference: part of the convolution before it, or a constant scale and shift."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import fx, nn
from torchvision.ops import FrozenBatchNorm2d

from pedseg_train.components import folded_parameters

Module = TypeVar("Module", bound=nn.Module)
NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def folded(module: Module) -> Module:
    """A copy of `module` in eval mode without batch norm.

    Every norm that directly follows a convolution is folded into its weights. The few others become
    `FrozenBatchNorm2d`: torch's own batch norm asks whether its input is empty, which an exporter
    cannot answer for the rows of a head.
    """
    copied = copy.deepcopy(module).eval()
    if not any(isinstance(part, NORMS) for part in copied.modules()):
        return copied
    for convolution, norm in list(_adjacent(copied)):
        part: Any = copied.get_submodule(convolution)
        weight, bias = folded_parameters(part, copied.get_submodule(norm))
        part.weight, part.bias = nn.Parameter(weight), nn.Parameter(bias)
        _put(copied, norm, nn.Identity())
    for name, part in list(copied.named_modules()):
        if isinstance(part, nn.BatchNorm2d):
            _put(copied, name, _constants_of(part))
    return copied


class _Tracer(fx.Tracer):
    """Follows the data through a module, and takes norms of torchvision for leaves too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, NORMS) or super().is_leaf_module(m, module_qualified_name)


def _adjacent(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of a convolution and the norm that alone reads its output."""
    for node in _Tracer().trace(module).nodes:
        if node.op == "call_module" and isinstance(module.get_submodule(node.target), NORMS):
            source: Any = node.args[0]
            if (
                source.op == "call_module"
                and len(source.users) == 1
                and isinstance(module.get_submodule(source.target), nn.Conv2d)
            ):
                yield source.target, node.target


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, part)


def _constants_of(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    constants = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
    buffers = dict(constants.named_buffers())
    saved = norm.state_dict()
    constants.load_state_dict({name: saved[name] for name in buffers})
    return constants
