"""Segmenting a live stream or a camera: results as they come, until it is stopped."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from ...errors import InputError
from ...segmenter import Segmenter
from ..frame_outputs import FrameFailures, write_line
from ..outputs import (
    DEFAULT_FORMATS,
    VIDEO_FORMATS,
    VIDEO_PATTERNS,
    Names,
    check_formats,
    no_video_format,
)
from ..video.reading import require_av
from ..video.writing import VideoWriter
from .reading import LiveFrame, LiveReader
from .sources import LiveSource, find_live_source

_LONGEST_WAIT = 0.2  # seconds that a stop may go unnoticed
_HOPELESS = 10  # frames of which all failed


@dataclass(frozen=True, slots=True)
class LivePrediction:
    """What `predict_live` did.

    Attributes:
        source: what was read, without password.
        outputs: what was written, by kind: "overlay", "blurred", "lines".
        seconds: how long it took.
        received: how many frames came.
        segmented: how many of them were segmented.
        dropped: how many were to be segmented, but newer ones came before their turn.
        damaged: how many packets could not be decoded, or were lost in part.
        connections: how many times the source was connected to.
        detections: how many were found.
        failed: why it ended, or why frames failed; None if nothing did.
    """

    source: str
    outputs: dict[str, Path]
    seconds: float
    received: int
    segmented: int
    dropped: int
    damaged: int
    connections: int
    detections: int
    failed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        counts = ("received", "segmented", "dropped", "damaged", "connections")
        failed = [] if self.failed is None else [{"file": self.source, "reason": self.failed}]
        return {
            "source": self.source,
            "seconds": round(self.seconds, 3),
            **{name: getattr(self, name) for name in counts},
            "detections": self.detections,
            **{kind: str(path) for kind, path in self.outputs.items()},
            "failed": failed,
        }


def predict_live(
    segmenter: Segmenter,
    source: str,
    *,
    output: Path,
    formats: Collection[str] = DEFAULT_FORMATS,
    score_threshold: float | None = None,
    every: int = 1,
    duration: float | None = None,
    patience: float = 60,
    stop: threading.Event | None = None,
    on_frames: Callable[[int], object] | None = None,
    on_note: Callable[[str], object] | None = None,
) -> LivePrediction:
    """Segment the newest frames of a live source until it ends or is stopped.

    Each result is written as soon as it is there, to files of new names: a line of JSON per frame,
    and a video in fragments that can be played meanwhile. Frames that come while one is segmented
    are dropped but for the newest, so memory and delay stay what they are.

    Args:
        segmenter: a loaded artifact.
        source: `rtsp://...` or another address of a stream, a device, or a camera's number; see
            `find_live_source`.
        output: folder for the results; it is made if missing.
        formats: some of "overlay", "blurred" and "json"; others are not for videos.
        score_threshold: keep detections above it; None keeps what the artifact yields.
        every: of the frames that come, segment none but every so many.
        duration: seconds from the first frame after which to stop; None goes on.
        patience: seconds without a frame, at the start or later, after which to give up.
        stop: set it, from a signal handler or another thread, to stop.
        on_frames: called with the number of frames segmented so far.
        on_note: called, by another thread, with a line when the connection is lost.

    Raises:
        InputError: an argument cannot be used, PyAV is missing, there was not a single frame, or
            none that could be segmented.
        OSError: a result cannot be written.
    """
    found = find_live_source(source)
    if found is None:
        raise InputError("source: expected the address of a stream or a camera, found none")
    _check_arguments(segmenter, found, formats, score_threshold, every, duration, patience)
    started = monotonic()
    reader = LiveReader(found, every=every, patience=patience, on_note=on_note)
    results = _Results(segmenter, reader, found, score_threshold, output, formats)
    with results, reader:
        reason = _follow(reader, results, duration, stop or threading.Event(), on_frames)
    if not results.segmented:
        raise InputError(reason or f"{found.name}: expected frames, found none before the stop")
    failures = results.failures
    if reason is None and failures.count:
        reason = (
            f"{found.name}: expected to segment all frames, found that {failures.count} failed, "
            f"the first is {failures.first}"
        )
    return LivePrediction(
        source=found.name,
        outputs=results.paths,
        seconds=monotonic() - started,
        received=reader.received,
        segmented=results.segmented,
        dropped=reader.dropped,
        damaged=reader.damaged,
        connections=reader.connections,
        detections=results.detections,
        failed=reason,
    )


class _Results:
    """Segments frames and writes what comes of them; a context manager.

    The files are made with the first result: of a source that never works none is left.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        like: LiveReader,
        source: LiveSource,
        score_threshold: float | None,
        output: Path,
        formats: Collection[str],
    ) -> None:
        self.paths: dict[str, Path] = {}
        self.segmented = self.detections = 0
        self.failures = FrameFailures()
        self._segmenter, self._threshold = segmenter, score_threshold
        self._like, self._source = like, source
        self._output, self._formats = output, formats
        self._stack = contextlib.ExitStack()
        self._overlay: VideoWriter | None = None
        self._blurred: VideoWriter | None = None
        self._lines: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def add(self, item: LiveFrame) -> None:
        """Segment a frame and write its results; it may fail, but not each of the first ones.

        Raises:
            InputError: no frame could be segmented so far.
            OSError: a result cannot be written.
        """
        frame = item.frame
        try:
            image = self._segmenter.read(frame.pixels(), f"frame {frame.index}")
            found = self._segmenter.predict([image], score_threshold=self._threshold)[0]
        except Exception as error:  # any: it is this frame's
            self.failures.add(frame, error)
            if not self.segmented and self.failures.count == _HOPELESS:
                raise InputError(f"{self._source.name}: {self.failures.first}") from error
            return
        if not self.segmented:
            self._open()
        if self._lines is not None:
            received = item.received.isoformat(timespec="milliseconds")
            write_line(self._lines, self._source.name, frame, found, received=received)
        if self._overlay is not None:
            self._overlay.write(np.asarray(found.draw(image)), frame)
        if self._blurred is not None:
            self._blurred.write(np.asarray(found.blur(image)), frame)
        self.segmented += 1
        self.detections += len(found)

    def _open(self) -> None:
        """Make the files; each line is on its way to the disk when it is written."""
        self.paths = _new_paths(self._output, self._source.stem, self._formats)
        self._overlay, self._blurred = self._video("overlay"), self._video("blurred")
        if "lines" in self.paths:
            stream = self.paths["lines"].open("w", encoding="utf-8", buffering=1)
            self._lines = self._stack.enter_context(stream)

    def _video(self, kind: str) -> VideoWriter | None:
        if kind not in self.paths:
            return None
        writer = VideoWriter(self.paths[kind], like=self._like, endless=True)
        return self._stack.enter_context(writer)


def _follow(
    reader: LiveReader,
    results: _Results,
    duration: float | None,
    stop: threading.Event,
    on_frames: Callable[[int], object] | None,
) -> str | None:
    """Segment the newest frame again and again.

    Returns:
        Why there are no more; None at the end of the stream or of the time, or when stopped.
    """
    end = math.inf
    while not stop.is_set() and monotonic() < end:
        try:
            item = reader.take(_LONGEST_WAIT)
        except EOFError:
            return None
        except InputError as error:
            return str(error)
        if item is not None:
            end = monotonic() + duration if duration is not None and end == math.inf else end
            results.add(item)
            if on_frames is not None:
                on_frames(results.segmented)
    return None


def _new_paths(folder: Path, stem: str, formats: Collection[str]) -> dict[str, Path]:
    """Where to write, by kind; a recording never replaces another."""
    folder.mkdir(parents=True, exist_ok=True)
    names = Names(path.name for path in folder.iterdir())
    return {
        kind: folder / names.take(pattern, stem)
        for format_, (kind, pattern) in VIDEO_PATTERNS.items()
        if format_ in formats
    }


def _check_arguments(
    segmenter: Segmenter,
    source: LiveSource,
    formats: Collection[str],
    score_threshold: float | None,
    every: int,
    duration: float | None,
    patience: float,
) -> None:
    """Refuse what cannot work before anything is opened."""
    segmenter.check_threshold(score_threshold)
    for name, value in (("every", every), ("duration", duration), ("patience", patience)):
        if value is not None and not value > 0:
            raise InputError(f"{name}: expected a positive number, found {value}")
    check_formats(formats, [])
    if not set(VIDEO_FORMATS) & set(formats):
        raise no_video_format(source.name, formats)
    require_av(source.name)
