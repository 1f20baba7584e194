"""Reading videos with PyAV, which is an extra: frames in their order, and what was damaged."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ...content import TRANSPORT_HEAD, is_transport_stream
from ...errors import InputError
from ...images import SUFFIXES as IMAGE_SUFFIXES
from ...lifecycle import Closeable
from ...text import pluralize
from .frames import Colors, Frame, ffmpeg_reason

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".ogv", ".webm", ".wmv"),
    }
)
TRANSPORT_SUFFIXES = frozenset({".m2t", ".mts", ".trp", ".ts"})
"""Those of MPEG transport streams, unless they are TypeScript's: the content tells."""
DEFAULT_RATE = Fraction(25)
# Where recordings were joined the clock goes back, or in formats that allow for it, ahead by more
# seconds than this, which is FFmpeg's own limit.
_JUMP_AHEAD = Fraction(10)
_DISCONTINUOUS = 0x200  # FFmpeg's AVFMT_TS_DISCONT
# The demuxer takes a join for lost data of one of the packets before it.
_PACKETS_BEFORE_JOIN = 3
# A video that ends before this part of its announced length was cut off.
_WHOLE = Fraction(9, 10)


def is_video(file: Path) -> bool:
    """Whether the name is that of a video, or the content of a file that is named neither way.

    All other files are taken for images.
    """
    suffix = file.suffix.lower()
    if suffix in VIDEO_SUFFIXES or suffix in IMAGE_SUFFIXES:
        return suffix in VIDEO_SUFFIXES
    if not file.is_file():  # what a pipe gave would be missing later
        return False
    try:
        with file.open("rb") as stream:
            return is_transport_stream(stream.read(TRANSPORT_HEAD))
    except (OSError, ValueError):
        return False


def require_av(source: object) -> None:
    """Make sure that PyAV is there to read `source`.

    Raises:
        InputError: it is not, or cannot be imported.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{source}: expected PyAV, which reads videos, found none ({error}); pip install "
            "'pedseg[video]', or name the images only"
        ) from error


class VideoReader(Closeable):
    """The frames of a video, for one pass; a context manager.

    Damage does not end the pass as long as something can be decoded; `damage` tells of it.

    Args:
        path: the file.

    Attributes:
        rate: frames per second, on average or nominally.
        total: how many frames are announced; None if unknown.
        pixel_aspect: the width of a stored pixel by its height.
        decoded: how many frames were read so far.

    Raises:
        InputError: the file is missing, or holds no video that can be read.
    """

    def __init__(self, path: Path) -> None:
        import av

        self._path = path
        self.decoded = 0
        self._counts: Counter[str] = Counter()
        self._notes: list[str] = []
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
                if not file.read(1):
                    raise ValueError("an empty file")
                file.seek(0)
                # Playlists in disguise would have FFmpeg open other files and addresses.
                container = av.open(
                    file,
                    mode="r",
                    metadata_errors="replace",
                    container_options={"protocol_whitelist": "none"},
                )
                stack.enter_context(container)
                stream = container.streams.best("video")
            except (av.FFmpegError, OSError, ValueError) as error:
                raise InputError(_unreadable(path, ffmpeg_reason(error))) from error
            if not isinstance(stream, av.VideoStream):
                raise InputError(_unreadable(path, "no images in it"))
            self._resources = stack.pop_all()
        stream.thread_type = "AUTO"
        self._container, self._stream = container, stream
        self.rate: Fraction = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        may_jump = container.format.flags & _DISCONTINUOUS
        self._jump_ahead: float | Fraction = _JUMP_AHEAD if may_jump else math.inf
        self._length = _announced_length(container, stream)
        self.total = stream.frames or (round(self._length * self.rate) if self._length else None)
        self.pixel_aspect: Fraction = stream.sample_aspect_ratio or Fraction(1)

    def close(self) -> None:
        """Close the file."""
        self._resources.close()

    @property
    def damage(self) -> str | None:
        """What was wrong with the part that was read so far; None if nothing was."""
        counts = [pluralize(number, thing) for thing, number in self._counts.items() if number]
        return ", ".join([*counts, *self._notes]) or None

    @property
    def colors(self) -> Colors:
        """What the stream says of its colors."""
        return Colors.of(self._stream)

    def __iter__(self) -> Iterator[Frame]:
        """The frames in the order they are shown.

        Raises:
            InputError: there is not a single one.
        """
        frame: Frame | None = None
        for frame in self._frames():
            yield frame
        if frame is None:
            raise InputError(_unreadable(self._path, self.damage or "not a single frame"))
        end = frame.time + frame.duration
        if self._length is not None and end < self._length * _WHOLE - 2 / self.rate:
            self._notes.append(f"an end after {float(end):.2f} s of {float(self._length):.2f} s")

    def _frames(self) -> Iterator[Frame]:
        """The frames with their times, which go on where the clock of a stream starts anew."""
        start: Fraction | None = None
        before, end = Fraction(0), Fraction(0)
        for index, decoded in enumerate(self._decoded_frames()):
            base = decoded.time_base or Fraction(0)
            stored = None if decoded.pts is None else decoded.pts * base
            if start is None:
                start = stored or Fraction(0)
            time = end if stored is None else stored - start
            if stored is not None and not 0 <= time - before <= self._jump_ahead:
                time, start = end, stored - end
            frame = Frame(index, time, decoded.duration * base or 1 / self.rate, decoded)
            before, end = time, time + frame.duration
            self._counts["damaged frame"] += decoded.is_corrupt
            self.decoded = index + 1
            yield frame

    def _decoded_frames(self) -> Iterator[VideoFrame]:
        """Decode packet by packet, so that a damaged one costs its own frames alone."""
        import av

        before: Fraction | None = None
        suspects: deque[bool] = deque(maxlen=_PACKETS_BEFORE_JOIN)
        for packet in self._packets():
            time = None if packet.dts is None else packet.dts * packet.time_base
            step = Fraction(0) if time is None or before is None else time - before
            if not 0 <= step <= self._jump_ahead:
                self._counts["damaged packet"] -= sum(suspects)
                suspects.clear()
            before = time
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._counts["damaged packet"] += 1
                continue
            suspects.append(packet.is_corrupt)
            self._counts["damaged packet"] += packet.is_corrupt
            yield from (frame for frame in frames if isinstance(frame, av.VideoFrame))

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """The packets of the video stream, as far as the container can be read."""
        import av

        try:
            yield from self._container.demux(self._stream)
        except (av.FFmpegError, OSError) as error:
            self._notes.append(ffmpeg_reason(error))


def _announced_length(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Seconds that the video should last; None if unknown.

    The length of a container counts only without other streams: sound may be longer.
    """
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, 1_000_000)
    return None


def _unreadable(path: Path, found: str) -> str:
    return f"{path}: expected a video, found none that can be read ({found}); get the file anew"
