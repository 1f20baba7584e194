"""Soft masks in the frame of their box -> pixels of the image, without a loop.

Bit for bit equal to torchvision's thresholded `paste_masks_in_image` on the CPU. That requires the
rounding order of torch's two bilinear kernels, see `pedseg_runtime.masks`:

Large boxes are resized along the row first, then down the column. Each step is a matrix product
with two non-zero weights per pixel. With fused multiply-adds it rounds as torch's kernel does if
the far neighbour comes first: hence the reversed masks.

Small boxes (height + width up to 128) go through a kernel that weights four neighbours at once.
They are computed in a window of their own and scattered into the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .sizes import int_vector


class FullMasks(nn.Module):
    """Paste soft masks into the frame of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.small = 128  # pixels, height + width: largest box of torch's kernel for small outputs
        self.threshold = 0.5

    def forward(self, roi_masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
        """Masks uint8 [D, height, width], 1 on the instance.

        Args:
            roi_masks: float32 [D, M, M], in 0..1, in the frame of the box.
            boxes: float32 [D, 4], x1 y1 x2 y2 in pixels of the image.
            height: of the image, in pixels.
            width: of the image, in pixels.
        """
        padded = nn.functional.pad(roi_masks, [1, 1, 1, 1])
        corners = integer_boxes(boxes, roi_masks.shape[1])
        start, size = corners[:, :2], (corners[:, 2:] - corners[:, :2] + 1).clamp(min=1)
        small = size.sum(1) <= self.small
        large = self.large(padded, start, size, height, width) & ~small[:, None, None]
        return self.add_small(large.to(torch.uint8), padded, start, size, small)

    def large(self, padded: Tensor, start: Tensor, size: Tensor, height: int, width: int) -> Tensor:
        """Bool [D, height, width] by two matrix products."""
        reversed_masks = padded.flip([1, 2])
        columns = cell_weights(start[:, 0], size[:, 0], width, padded.shape[1])  # [D, width, M + 2]
        rows = cell_weights(start[:, 1], size[:, 1], height, padded.shape[1])
        across = torch.bmm(reversed_masks, columns.transpose(1, 2))
        return torch.bmm(rows, across) >= self.threshold

    def add_small(
        self, masks: Tensor, padded: Tensor, start: Tensor, size: Tensor, small: Tensor
    ) -> Tensor:
        """`masks` with the pixels of small boxes set."""
        count, height, width = masks.shape
        window = torch.arange(self.small, device=masks.device)
        soft = small_windows(padded, size, self.small)
        y, x = start[:, 1:] + window, start[:, :1] + window  # [D, window]
        in_rows = (window < size[:, 1:]) & (y >= 0) & (y < height)
        in_columns = (window < size[:, :1]) & (x >= 0) & (x < width)
        inside = in_rows[:, :, None] & in_columns[:, None, :] & small[:, None, None]
        frame = torch.arange(count, device=masks.device)[:, None, None]
        place = (frame * height + y[:, :, None]) * width + x[:, None, :]
        # Values outside the image are written to one extra pixel, which is dropped.
        beyond = int_vector([count * height * width], masks.device)
        place = torch.where(inside, place, beyond).flatten()
        values = (soft >= self.threshold).to(torch.uint8).flatten()
        # Joined, not padded: onnxruntime pads uint8 on the CPU only, with all masks copied there.
        flat = torch.cat([masks.flatten(), masks.new_zeros(1)])
        return flat.index_put([place], values)[:-1].view(count, height, width)


def integer_boxes(boxes: Tensor, side: int) -> Tensor:
    """Boxes [D, 4] grown with the masks' border and truncated, int64: `expand_boxes`."""
    grown = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((side + 2) / side)
    centre = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    return torch.cat([centre - grown, centre + grown], dim=1).to(torch.int64)


def source_cells(positions: Tensor, size: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The source cells of pixels, among `cells`: bilinear with align_corners=False.

    Args:
        positions: int64 [D, P], pixel indices within a box.
        size: int64 [D], pixels of the box.
        cells: number of cells along the axis.

    Returns:
        The lower cell int64 [D, P] and the weight of the upper one, float32 [D, P].
    """
    # number / tensor would be exported as a product with the reciprocal, which rounds twice.
    scale = torch.div(torch.full_like(size, cells, dtype=torch.float32), size.to(torch.float32))
    # One rounding to float32 at the end, as in a fused multiply-add.
    source = (positions.to(torch.float64) + 0.5) * scale.to(torch.float64)[:, None] - 0.5
    source = source.to(torch.float32).clamp(min=0.0)
    lower = source.to(torch.int64).clamp(max=cells - 1)
    return lower, source - lower.to(torch.float32)


def cell_weights(start: Tensor, size: Tensor, pixels: int, cells: int) -> Tensor:
    """Float32 [D, pixels, cells]: the weight of each cell for each pixel, last cell first.

    Zero outside the box. `start` and `size`, int64 [D], are those of the boxes along this axis.
    """
    positions = torch.arange(pixels, device=start.device) - start[:, None]
    lower, far = source_cells(positions, size, cells)
    inside = (positions >= 0) & (positions < size[:, None])
    cell = torch.arange(cells, device=start.device).flip([0])
    distance = cell - lower[:, :, None]
    near = torch.where(inside, 1.0 - far, 0.0)[:, :, None]
    far = torch.where(inside, far, 0.0)[:, :, None]
    return torch.where(distance == 0, near, 0.0) + torch.where(distance == 1, far, 0.0)


def small_windows(padded: Tensor, size: Tensor, side: int) -> Tensor:
    """Float32 [D, side, side]: masks resized as by the kernel for small outputs.

    Only the first `size` [D, 2] = width height pixels of a window are valid.
    """
    cells = padded.shape[1]
    window = torch.arange(side, device=padded.device).expand(size.shape[0], side)
    x, far_x = source_cells(window, size[:, 0], cells)
    y, far_y = source_cells(window, size[:, 1], cells)
    near_x, near_y = (1.0 - far_x)[:, None, :], (1.0 - far_y)[:, :, None]
    far_x, far_y = far_x[:, None, :], far_y[:, :, None]
    left, top = x[:, None, :], y[:, :, None]
    right, bottom = (left + 1).clamp(max=cells - 1), (top + 1).clamp(max=cells - 1)
    flat = padded.flatten(1)

    value = _corner(flat, top * cells + right) * (near_y * far_x)
    value = _fused(_corner(flat, top * cells + left), near_y * near_x, value)
    value = _fused(_corner(flat, bottom * cells + left), far_y * near_x, value)
    return _fused(_corner(flat, bottom * cells + right), far_y * far_x, value)


def _corner(flat: Tensor, index: Tensor) -> Tensor:
    """Values of masks [D, cells * cells] at `index` [D, side, side]."""
    return flat.gather(1, index.flatten(1)).view(index.shape[0], index.shape[1], index.shape[2])


def _fused(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """A * b + c, rounded once to float32: the product of two float32 is exact in float64."""
    return (a.to(torch.float64) * b.to(torch.float64) + c.to(torch.float64)).to(torch.float32)
