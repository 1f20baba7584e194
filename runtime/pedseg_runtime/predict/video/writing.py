"""Writing videos with PyAV: frames and their times in, an MP4 file out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .frames import Colors, Frame, usual_matrix

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream

# Best first; FFmpeg's own MPEG-4 encoder is in every build.
_ENCODERS = ("libx264", "libopenh264", "mpeg4")
_OPTIONS = {"libx264": {"crf": "20", "preset": "veryfast"}}
_BITS_PER_PIXEL = 0.2  # for encoders that know no constant quality
# 1/60000 s hits the usual rates, and MPEG-4 allows no finer time base than 1/65535.
_TIME_BASE = Fraction(1, 60_000)
_FRAGMENT = 30  # frames, of an endless video, that are written together
# FFmpeg's numbers of matrices that YUV 4:2:0 can have: BT.709, BT.601 twice, BT.2020.
_MATRICES = frozenset({1, 5, 6, 9})


class VideoProperties(Protocol):
    """What a written video takes over from the one that is read."""

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average or nominally."""

    @property
    def pixel_aspect(self) -> Fraction:
        """The width of a stored pixel by its height."""

    @property
    def colors(self) -> Colors:
        """What the stream says of its colors."""


class VideoWriter:
    """An MP4 video like another one: its rate and times, its shape of pixels and its colors.

    A context manager. Frames of odd size are extended by a row or column, since 4:2:0 needs even
    sizes; frames of another size than the first are fitted into that, on black.

    Args:
        path: where to write; an existing file is overwritten.
        like: the video the frames come from.
        endless: write it in fragments, which can be played before the end and keep no index
            in memory.
    """

    def __init__(self, path: Path, *, like: VideoProperties, endless: bool = False) -> None:
        import av

        self._like = like
        self._stream: VideoStream | None = None
        self._size = (0, 0)
        self._endless = endless
        self._last = -1
        flags = "+frag_keyframe+empty_moov+default_base_moof" if endless else "+faststart"
        self._container = av.open(f"file:{path}", "w", format="mp4", options={"movflags": flags})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import av

        try:
            if kind is None and self._stream is not None:
                self._encode(None)
        finally:
            try:
                self._container.close()
            except av.FFmpegError:
                if kind is None:
                    raise

    def write(self, pixels: NDArray[np.uint8], frame: Frame) -> None:
        """Append an upright image, uint8 [H, W, 3] RGB, to be shown at the time of `frame`.

        Raises:
            InputError: the encoder takes no frames of this size.
            OSError: the file cannot be written.
        """
        import av

        if self._stream is None:
            self._size = pixels.shape[:2]
            height, width = (length + length % 2 for length in self._size)
            self._stream = self._add_stream((height, width), frame)
        pixels = _fitted(pixels, self._size)
        height, width = self._size
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        encoded = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        encoded.colorspace = self._stream.codec_context.colorspace
        encoded.time_base = _TIME_BASE
        # Damaged videos repeat times, which no encoder takes.
        encoded.pts = self._last = max(round(frame.time / _TIME_BASE), self._last + 1)
        encoded.duration = round(frame.duration / _TIME_BASE)
        self._encode(encoded)

    def _add_stream(self, size: tuple[int, int], frame: Frame) -> VideoStream:
        """Start the one stream of the file with the best encoder there is."""
        import av
        from av.codec.context import Flags

        codec = next(name for name in _ENCODERS if name in av.codecs_available)
        stream = self._container.add_stream(
            codec, rate=self._like.rate, options=_OPTIONS.get(codec)
        )
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = _TIME_BASE
        # MP4 adds durations in the order of decoding; B-frames would spoil the last one.
        context.max_b_frames = 0
        if self._endless:
            context.gop_size = _FRAGMENT
        context.flags |= Flags.frame_duration
        if codec not in _OPTIONS:
            context.bit_rate = round(size[0] * size[1] * self._like.rate * _BITS_PER_PIXEL)
        aspect = self._like.pixel_aspect
        context.sample_aspect_ratio = 1 / aspect if frame.orientation.is_transposed else aspect
        if frame.matrix in _MATRICES:
            context.colorspace = frame.matrix
            _, context.color_primaries, context.color_trc = self._like.colors
        else:
            context.colorspace = usual_matrix(size[1], size[0])  # as it will be read
        return stream

    def _encode(self, frame: VideoFrame | None) -> None:
        """Encode a frame, or with None what the encoder still holds, and write it."""
        import av

        assert self._stream is not None
        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            stream = self._stream
            raise InputError(
                "overlay: expected frames that the encoder takes, found "
                f"{stream.width}x{stream.height} ({error.strerror}); scale the video down, or "
                "choose --format json"
            ) from error


def _fitted(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame [H, W, 3] in a frame of `size` (height, width), as large as it fits, on black."""
    if pixels.shape[:2] == size:
        return pixels
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.pad(Image.fromarray(pixels), size[::-1]))
