"""A decoded frame: how it becomes upright RGB pixels of the right colors."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream

# FFmpeg's numbers of color matrices (AVColorSpace), which are those of ITU-T H.273.
RGB, BT709, UNTAGGED, RESERVED = 0, 1, 2, 3
# What players take for high definition where no matrix is named: more than PAL's 720x576.
_SD_HEIGHT, _HD_WIDTH = 576, 1280


class Colors(NamedTuple):
    """FFmpeg's numbers for matrix, primaries and transfer curve, by its own names."""

    colorspace: int
    color_primaries: int
    color_trc: int

    @classmethod
    def of(cls, stream: VideoStream) -> Colors:
        """Those of a stream."""
        context = stream.codec_context
        return cls(context.colorspace, context.color_primaries, context.color_trc)


class Orientation(NamedTuple):
    """One of the eight ways in which a stored frame lies: transposed first, then flipped."""

    is_transposed: bool = False
    flips_rows: bool = False
    flips_columns: bool = False

    @classmethod
    def of(cls, matrix: bytes) -> Orientation:
        """The orientation nearest to a display matrix.

        Args:
            matrix: nine int32 a b u, c d v, x y w as ISO 14496-12 has them: a stored pixel
                (x, y) is shown at (a x + c y, b x + d y), y downwards.
        """
        a, b, _, c, d = struct.unpack("=5i", matrix[:20])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, d < 0, a < 0)
        return cls(True, b < 0, c < 0)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame [H, W, 3] as its camera was held, contiguous."""
        if self.is_transposed:
            pixels = pixels.transpose(1, 0, 2)
        rows = slice(None, None, -1 if self.flips_rows else None)
        columns = slice(None, None, -1 if self.flips_columns else None)
        return np.ascontiguousarray(pixels[rows, columns])


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame that is not converted yet.

    Attributes:
        index: its number, from 0.
        time: seconds since the first frame.
        duration: seconds it is shown.
        decoded: PyAV's frame.
    """

    index: int
    time: Fraction
    duration: Fraction
    decoded: VideoFrame

    @property
    def orientation(self) -> Orientation:
        """How it lies, by the display matrix that comes with it."""
        from av.sidedata.sidedata import SideDataContainer

        # As `decoded.side_data`, which would make a cycle of it and the frame: frames would wait in
        # memory for the garbage collector.
        container: Any = SideDataContainer
        matrix = container(self.decoded).get("DISPLAYMATRIX")
        return Orientation() if matrix is None else Orientation.of(bytes(matrix))

    @property
    def matrix(self) -> int:
        """FFmpeg's number for the matrix of its colors; that of its size if it names none."""
        decoded = self.decoded
        named = int(decoded.colorspace)
        is_none = named in (UNTAGGED, RESERVED) or (named == RGB and not decoded.format.is_rgb)
        return usual_matrix(decoded.width, decoded.height) if is_none else named

    def pixels(self) -> NDArray[np.uint8]:
        """The frame as its camera was held, uint8 [H, W, 3] RGB, contiguous.

        Raises:
            InputError: its pixels cannot be converted.
        """
        import av

        self.decoded.colorspace = self.matrix
        try:
            # More threads, started anew for every frame, are slower and cost memory.
            pixels = np.asarray(self.decoded.to_ndarray(format="rgb24", threads=1), np.uint8)
        except (av.FFmpegError, ValueError) as error:
            raise InputError(
                f"frame {self.index}: expected pixels that convert to RGB, found "
                f"{self.decoded.format.name} of color matrix {self.matrix} "
                f"({ffmpeg_reason(error)}); convert the video"
            ) from error
        return self.orientation.apply(pixels)


def usual_matrix(width: int, height: int) -> int:
    """The color matrix that players take where none is named: BT.709 if the size is HD.

    Returns:
        FFmpeg's number; that of untagged stands for BT.601, as everywhere in FFmpeg.
    """
    return BT709 if height > _SD_HEIGHT or width >= _HD_WIDTH else UNTAGGED


def ffmpeg_reason(error: Exception) -> str:
    """What FFmpeg or the system says is wrong, in one line."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())
