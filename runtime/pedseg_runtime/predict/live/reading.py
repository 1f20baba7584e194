"""Reading live streams and cameras: the newest frame, for as long as there are any."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

from ...errors import InputError
from ...lifecycle import Closeable
from ..video.frames import Colors, Frame, ffmpeg_reason
from ..video.reading import DEFAULT_RATE
from .sources import LiveSource

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

SILENCE = 5.0
"""Seconds without data after which a connection counts as lost."""
CONNECTING = 15.0
"""Seconds for a connection and its first image, which comes after up to ten with some cameras."""
_PARTING = 2.0  # seconds that a reader is waited for; one that FFmpeg holds on to ends by itself
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the first attempt to connect anew, and at most; each wait doubles the last."""
_MICROSECONDS = 1_000_000


class LiveFrame(NamedTuple):
    """A frame and when it came; its own time is seconds since the first one came."""

    frame: Frame
    received: datetime


class LiveReader(Closeable):
    """The newest frame of a live source, decoded by a thread; a context manager.

    A frame that is not taken before the next one comes is dropped: memory holds one, and what is
    taken is never old. A connection that is lost is made anew, after waits that double.

    Args:
        source: where to read.
        every: of the frames that come, offer the numbers 0, every, 2 * every, ...
        patience: seconds without a frame after which to give up.
        on_note: called, by the thread, with a line for each connection that is lost.

    Attributes:
        received: how many frames came.
        dropped: how many were offered and not taken.
        connections: how many times frames came from a new connection.
        damaged: how many packets could not be decoded, or were lost in part.
        rate: frames per second, as the stream says.
        pixel_aspect: the width of a stored pixel by its height.
        colors: what the stream says of its colors.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        every: int = 1,
        patience: float = 60,
        on_note: Callable[[str], object] | None = None,
    ) -> None:
        self._source, self._every, self._patience = source, every, patience
        self._note = on_note or (lambda _: None)
        self.received = self.dropped = self.connections = self.damaged = 0
        self.rate, self.pixel_aspect, self.colors = DEFAULT_RATE, Fraction(1), Colors(2, 2, 2)
        self._changed = threading.Condition()
        self._slot: LiveFrame | None = None
        self._has_ended = False
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._first: float | None = None
        self._latest = monotonic()
        self._thread = threading.Thread(target=self._run, name=f"read {source.name}", daemon=True)

    def __enter__(self) -> Self:
        self._latest = monotonic()
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join(_PARTING)

    def take(self, timeout: float) -> LiveFrame | None:
        """The newest frame, once; None if none came within `timeout` seconds.

        Raises:
            EOFError: the stream is over, by its own account.
            InputError: the source cannot be read, or gave no frame for longer than the patience.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slot or self._has_ended, timeout)
            taken, self._slot = self._slot, None
            if taken is None and self._error is not None:
                raise self._error
            if taken is None and self._has_ended:
                raise EOFError
            return taken

    def _run(self) -> None:
        """Connect, again and again; what this raises is raised where frames are taken."""
        try:
            self._read_on()
        except Exception as error:  # any: the caller shall know
            self._error = error
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _read_on(self) -> None:
        """Put frames into the slot until stopped, at the end, or out of patience."""
        import av

        wait = FIRST_WAIT
        while not self._stopped.is_set():
            before = self.received
            try:
                if self._read_connection():
                    return
                reason = "the end of the stream"
            except (av.FFmpegError, OSError, ValueError) as error:
                reason = _reason(error)
                if self.received == 0 and isinstance(error, _refusals()):
                    raise self._unreadable(reason) from error
            wait = FIRST_WAIT if self.received > before else wait
            left = self._latest + self._patience - monotonic()
            if left <= 0:
                raise self._unreadable(f"no frame for {self._patience:g} s, at last {reason}")
            wait = min(wait, left)
            if not self._stopped.is_set():
                self._note(f"{self._source.name}: {reason}; connecting anew in {wait:.1f} s")
            self._stopped.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _read_connection(self) -> bool:
        """Put the frames of one connection into the slot; whether they were all there are."""
        import av

        source, is_new = self._source, True
        with av.open(
            source.address,
            format=source.format,
            options=source.options,
            timeout=(min(CONNECTING, self._patience), min(SILENCE, self._patience)),
            metadata_errors="replace",
        ) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise ValueError("no images in it")
            is_finite = bool(container.duration)
            if source.is_download and (is_finite or container.size > 0):
                raise self._unreadable("a file, of which frames would be dropped; download it")
            self._adopt(stream)
            for decoded in self._decoded_frames(container, stream):
                self.connections += is_new
                is_new = False
                self._offer(decoded)
        return self._stopped.is_set() or (is_finite and not is_new)

    def _adopt(self, stream: VideoStream) -> None:
        """Take over what a stream says of itself, and have it decoded without delay."""
        stream.thread_type = "SLICE"  # threads by frame hold back as many frames as they are
        self.rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        self.pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
        self.colors = Colors.of(stream)

    def _decoded_frames(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[VideoFrame]:
        import av

        for packet in container.demux(stream):
            if self._stopped.is_set():
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            self.damaged += packet.is_corrupt
            yield from (frame for frame in frames if isinstance(frame, av.VideoFrame))

    def _offer(self, decoded: VideoFrame) -> None:
        """Put a frame into the slot, in place of one that was not taken."""
        self._latest = monotonic()
        self._first = self._latest if self._first is None else self._first
        index = self.received
        self.received += 1
        if index % self._every:
            return
        time = Fraction(round((self._latest - self._first) * _MICROSECONDS), _MICROSECONDS)
        frame = LiveFrame(Frame(index, time, 1 / self.rate, decoded), datetime.now(UTC))
        with self._changed:
            self.dropped += self._slot is not None
            self._slot = frame
            self._changed.notify_all()

    def _unreadable(self, found: str) -> InputError:
        return InputError(f"{self._source.name}: expected a live stream, found {found}")


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.error.ExitError):  # as FFmpeg calls that PyAV interrupted it
        return "no more data"
    return ffmpeg_reason(error)


def _refusals() -> tuple[type[Exception], ...]:
    """Errors that another attempt meets as well, unless the source has worked before."""
    import av

    return (av.error.HTTPClientError, av.error.LookupError)
