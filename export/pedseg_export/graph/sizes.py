"""Shape arithmetic that every exporter supports.

A fixed size is a Python number, and results computed from it become constants of the graph. A
symbolic size is computed in float64 tensors: `torch.export` is several times faster with them than
with symbolic floats.
"""

from __future__ import annotations

import torch
from torch import Tensor


def int_vector(values: list[int], device: torch.device) -> Tensor:
    """Sizes, some of them perhaps symbolic, as an int64 tensor [len(values)]."""
    if not torch.jit.is_scripting():  # type: ignore[attr-defined]
        if any(isinstance(value, torch.SymInt) for value in values):
            scalars = [torch.scalar_tensor(v, dtype=torch.int64, device=device) for v in values]
            return torch.stack(scalars)
    return torch.tensor(values, dtype=torch.int64, device=device)


def size_of(features: Tensor) -> Tensor:
    """Height and width of features [N, C, h, w], int64 [2] on the CPU."""
    return torch.tensor([features.shape[2], features.shape[3]])


# In ONNX one Shape on the CPU. torch would derive every side from the size of the image again, as a
# chain of products and divisions of scalars.
size_operator = torch.library.custom_op(
    "pedseg::size_of", size_of, mutates_args=(), schema="(Tensor features) -> Tensor"
)
size_operator.register_fake(lambda _features: torch.empty(2, dtype=torch.int64))


def network_size(
    height: int, width: int, min_size: int, max_size: int, block: int
) -> tuple[list[int], list[int]]:
    """Height and width after torchvision's `_resize_image_and_masks`, and after its padding.

    The scale is computed in float64, as eager's Python floats are. In float32, which traced or
    scripted torchvision code uses, up to 45 % of image sizes are wrong by one pixel.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        min_size: target of the shorter side.
        max_size: limit of the longer side.
        block: the padded sides are multiples of it.
    """
    if not torch.jit.is_scripting():  # type: ignore[attr-defined]
        if isinstance(height, torch.SymInt) or isinstance(width, torch.SymInt):
            return _symbolic_size(height, width, min_size, max_size, block)
    scale = min(min_size / min(height, width), max_size / max(height, width))
    resized = [int(height * scale), int(width * scale)]
    return resized, [(side + block - 1) // block * block for side in resized]


@torch.jit.unused
def _symbolic_size(
    height: int, width: int, min_size: int, max_size: int, block: int
) -> tuple[list[int], list[int]]:
    """`network_size` in tensors.

    The numerator of the scale is a tensor too: `number / tensor` is exported as a product with the
    reciprocal, which rounds once more. The padded sides are computed as a number of blocks, so that
    the exporter knows their divisor.
    """
    size = int_vector([height, width], torch.device("cpu")).to(torch.float64)
    sides = torch.cat([size.amin(0, keepdim=True), size.amax(0, keepdim=True)])
    limits = torch.tensor([min_size, max_size], dtype=torch.float64)
    resized = torch.floor(size * torch.div(limits, sides).min()).to(torch.int64)
    blocks = torch.div(resized + (block - 1), block, rounding_mode="floor")
    return (
        [positive(resized[0]), positive(resized[1])],
        [positive(blocks[0]) * block, positive(blocks[1]) * block],
    )


def positive(value: Tensor) -> int:
    """A size held by a tensor, as an int that the exporter may take to be at least 1."""
    number = value.item()  # symbolic while exporting, where `int` would ask for its value
    torch._check(number >= 1)
    return number  # type: ignore[return-value]


def shortfall(available: int, wanted: int) -> int:
    """How many of `wanted` entries are missing; `wanted` if the size is symbolic."""
    if not torch.jit.is_scripting():  # type: ignore[attr-defined]
        if isinstance(available, torch.SymInt):
            return wanted
    return max(0, wanted - available)


def box_limits(height: int, width: int, device: torch.device) -> Tensor:
    """Height and width as float32 [4] = width height width height, the layout of boxes."""
    return int_vector([width, height, width, height], device).to(torch.float32)
