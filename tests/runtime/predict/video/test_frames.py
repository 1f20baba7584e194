"""Orientation and colors of frames against the definitions in the standards."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pedseg_runtime import InputError
from pedseg_runtime.predict.video.frames import BT709, UNTAGGED, Frame, Orientation
from pedseg_runtime.predict.video.reading import VideoReader

av = pytest.importorskip("av", reason="needs PyAV: pip install 'pedseg[video]'")

# Of x' = a x + c y, y' = b x + d y: a, b, c, d.
MATRICES = {
    "as it is": (1, 0, 0, 1),
    "a quarter clockwise": (0, 1, -1, 0),
    "half a turn": (-1, 0, 0, -1),
    "a quarter counterclockwise": (0, -1, 1, 0),
    "columns flipped": (-1, 0, 0, 1),
    "rows flipped": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}
# The weights of red and blue in luma, by H.273: BT.709, FCC, BT.601 twice, SMPTE 240M, BT.2020.
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
YUV = (120, 100, 160)


def as_shown(pixels: NDArray[np.uint8], a: int, b: int, c: int, d: int) -> NDArray[np.uint8]:
    """What a player shows, pixel by pixel as ISO 14496-12 has it, moved to the corner."""
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    x, y = a * columns + c * rows, b * columns + d * rows
    x, y = x - x.min(), y - y.min()
    shown = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    shown[y, x] = pixels
    return shown


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_a_frame_is_put_upright_by_each_of_the_eight_matrices(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:16, :32], stored[:16, 32:], stored[16:, :32] = (200, 30, 30), (30, 200, 30), 90
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "rgb24"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored)))
        container.mux(stream.encode())
    content = bytearray(clip.read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (number << 16 for number in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(content)
    with VideoReader(clip) as reader:
        for frame in reader:
            np.testing.assert_array_equal(frame.pixels(), as_shown(stored, *matrix))


def test_a_frame_that_was_read_needs_no_garbage_collector() -> None:
    """PyAV's `side_data` ties a frame into a cycle, and its megabytes stay for long."""
    frame = frame_of(BT709)
    before = sys.getrefcount(frame.decoded)
    frame.pixels()
    after = sys.getrefcount(frame.decoded)  # an assert of pytest's holds on to it
    assert after == before


def test_a_matrix_of_another_angle_counts_as_the_nearest() -> None:
    tilted = struct.pack("=9i", 9, 60_000, 0, -60_000, 9, 0, 0, 0, 1 << 30)
    assert Orientation.of(tilted) == Orientation.of(struct.pack("=9i", 0, 1, 0, -1, *5 * [0]))
    assert Orientation.of(bytes(36)) == Orientation()


def frame_of(matrix: int, color_range: int = 0, size: tuple[int, int] = (64, 64)) -> Frame:
    """A frame of YUV, all pixels alike."""
    decoded = av.VideoFrame(*size, "yuv420p")
    for plane, value in zip(decoded.planes, YUV, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    decoded.colorspace, decoded.color_range = matrix, color_range
    return Frame(0, Fraction(0), Fraction(1), decoded)


def rgb_of(matrix: int, *, is_full: bool = False) -> NDArray[np.float64]:
    """The RGB that YUV stands for, by H.273."""
    red, blue = WEIGHTS[matrix]
    y, u, v = YUV
    luma = y / 255 if is_full else (y - 16) / 219
    u, v = ((chroma - 128) / (255 if is_full else 224) for chroma in (u, v))
    r, b = luma + 2 * (1 - red) * v, luma + 2 * (1 - blue) * u
    return np.array([r, (luma - red * r - blue * b) / (1 - red - blue), b]) * 255


@pytest.mark.parametrize("color_range", [0, 1, 2], ids=["unknown", "limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_colors_are_those_of_their_matrix_and_range(matrix: int, color_range: int) -> None:
    """PyAV before 17 takes all for BT.601, and full range for limited."""
    found = frame_of(matrix, color_range).pixels()[30, 30]
    # The fast conversion of 4:2:0 is off by up to 3; another matrix would be by 4 or more.
    np.testing.assert_allclose(found, rgb_of(matrix, is_full=color_range == 2), atol=3.5)


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((720, 576), 6), ((720, 578), 1), ((1278, 576), 6), ((1280, 64), 1), ((1920, 1080), 1)],
)
@pytest.mark.parametrize("tag", [0, 2, 3], ids=["RGB, which it is not", "untagged", "reserved"])
def test_without_a_tag_the_size_decides(size: tuple[int, int], matrix: int, tag: int) -> None:
    frame = frame_of(tag, size=size)
    assert frame.matrix == (BT709 if matrix == 1 else UNTAGGED)
    np.testing.assert_allclose(frame.pixels()[30, 30], rgb_of(matrix), atol=3.5)


def test_a_matrix_that_is_not_known_is_refused() -> None:
    with pytest.raises(InputError, match="frame 0: expected pixels that convert to RGB, found yuv"):
        frame_of(8).pixels()
