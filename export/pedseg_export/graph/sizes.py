"""Shape arithmetic that both exporters take: sizes as tensors, and back.

Through tensors `torch.export` is several times faster than through symbolic floats, and float64 is
available in every format.
"""

from __future__ import annotations

import torch
from torch import Tensor


def int_vector(values: list[int], device: torch.device) -> Tensor:
    """Sizes, some of them perhaps symbolic, as an int64 tensor [len(values)]."""
    scalars = [torch.scalar_tensor(value, dtype=torch.int64, device=device) for value in values]
    return torch.stack(scalars)


def positive(value: Tensor) -> int:
    """A size held by a tensor, as an int that the exporter may take to be at least 1."""
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return int(value.item())
    number = value.item()  # symbolic while exporting, where `int` would ask for its value
    torch._check(number >= 1)
    return number  # type: ignore[return-value]


def box_limits(size: list[int], device: torch.device) -> Tensor:
    """Height and width as float32 [4] = width height width height, as boxes are laid out."""
    return int_vector([size[1], size[0], size[1], size[0]], device).to(torch.float32)
