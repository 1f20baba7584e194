"""Segmenting videos: videos with the detections drawn or blurred, and JSON lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..errors import InputError
from ..files import replacing
from ..text import pluralize
from .frame_outputs import FrameFailures, blur_frame, draw_frame, write_line
from .jobs import FailedFile, Job, PredictedFile, PredictionContext
from .journal import Entry, Fingerprint
from .video.frames import Frame
from .video.reading import VideoReader
from .video.writing import VideoWriter

OnFrames = Callable[[Path, int, int | None], object]
# Most frames that wait for their batch, decoded: 12 MB each at 3840x2160.
_WAITING = 32


def segment_video(
    context: PredictionContext, job: Job, on_frames: OnFrames | None
) -> PredictedFile | FailedFile:
    """Segment a video, write its outputs, and return the outcome.

    Of a damaged video all that can be decoded is written. Only a whole one is noted in the
    journal, as {"frames", "detections"}, two counts.

    Args:
        context: how to segment and where to write.
        job: the video.
        on_frames: called with the file, the number of frames done, and that of all if known.

    Raises:
        OSError: a result cannot be written.
    """
    try:
        fingerprint = Fingerprint.of(job.file)
        with VideoReader(job.file) as reader:
            detections, failures = _predict_frames(context, job, reader, on_frames)
    except OSError:
        raise
    except Exception as error:  # any: it is this file's
        return FailedFile.because(job.file, error)
    damage = reader.damage
    if failures.count:
        damage = (
            f"{job.file}: expected to segment all frames, found that {failures.count} failed, the "
            f"first is {failures.first}; the results lack them"
        )
    elif damage is None:
        counts = {"frames": reader.decoded, "detections": detections}
        context.journal.add(Entry(fingerprint, job.outputs, counts))
    else:
        damage = (
            f"{job.file}: expected a whole video, found {damage}; the results hold the "
            f"{pluralize(reader.decoded, 'frame')} that could be decoded, get the file anew"
        )
    return PredictedFile(
        job.file, job.paths(context.output), detections, frames=reader.decoded, damage=damage
    )


def _predict_frames(
    context: PredictionContext, job: Job, reader: VideoReader, on_frames: OnFrames | None
) -> tuple[int, FrameFailures]:
    """Segment and write all frames there are.

    A frame that fails keeps the detections before it in the overlay, is blurred all over, and has
    no JSON line.

    Returns:
        The number of detections, and why frames failed.

    Raises:
        InputError: all frames fail.
    """
    count, segmented = 0, 0
    failures = FrameFailures()
    latest = Detections.empty((0, 0))
    with _sinks(job.paths(context.output), reader) as (overlay, blurred, lines):
        for window in _windows(reader, context, gapless=overlay is not None):
            found = _segment(context, window, failures)
            segmented += len(found)
            count += sum(map(len, found.values()))
            for frame in window:
                latest = found.get(frame.index, latest)
                if overlay is not None:
                    error = draw_frame(overlay, frame, latest)
                    if error is not None and not context.is_due(frame.index):
                        failures.add(frame, error)
                if blurred is not None:
                    blur_frame(blurred, frame, found.get(frame.index))
                if lines is not None and frame.index in found:
                    write_line(lines, str(job.file), frame, latest)
            if on_frames is not None:
                on_frames(job.file, reader.decoded, reader.total)
        if failures.count and not segmented:
            raise InputError(failures.first)
    return count, failures


class _Sinks(NamedTuple):
    """What takes the results of the frames, each if it is wanted."""

    overlay: VideoWriter | None
    blurred: VideoWriter | None
    lines: IO[str] | None


@contextlib.contextmanager
def _sinks(paths: Mapping[str, Path], like: VideoReader) -> Iterator[_Sinks]:
    """The sinks of those kinds that have a path; all files appear whole at the end."""
    with contextlib.ExitStack() as stack:
        temporary = {
            kind: stack.enter_context(replacing(path)) for kind, path in sorted(paths.items())
        }

        def video(kind: str) -> VideoWriter | None:
            path = temporary.get(kind)
            return None if path is None else stack.enter_context(VideoWriter(path, like=like))

        lines = None
        if "lines" in temporary:
            lines = stack.enter_context(temporary["lines"].open("w", encoding="utf-8"))
        yield _Sinks(video("overlay"), video("blurred"), lines)


def _windows(
    frames: Iterable[Frame], context: PredictionContext, *, gapless: bool
) -> Iterator[list[Frame]]:
    """Frames in their order, so many at a time that a batch of them is to be segmented.

    The others are among them only if the windows shall be `gapless`. The last window comes at the
    end of the frames, and may be empty.
    """
    window: list[Frame] = []
    due = 0
    is_end = True
    for frame in frames:
        is_end = False
        is_due = context.is_due(frame.index)
        if is_due or gapless:
            window.append(frame)
        due += is_due
        if due == context.batch_size or len(window) >= max(_WAITING, context.batch_size):
            yield window
            window, due, is_end = [], 0, True
    if not is_end:
        yield window


def _segment(
    context: PredictionContext, window: Iterable[Frame], failures: FrameFailures
) -> dict[int, Detections]:
    """The detections of those frames in `window` that are due, by the frames' numbers.

    Frames that fail are left out, and added to `failures`.
    """
    due: list[Frame] = []
    images: list[NDArray[np.uint8]] = []
    for frame in window:
        if context.is_due(frame.index):
            try:
                images.append(context.segmenter.read(frame.pixels(), f"frame {frame.index}"))
            except Exception as error:  # any: it is this frame's
                failures.add(frame, error)
            else:
                due.append(frame)
    found: dict[int, Detections] = {}
    for frame, outcome in zip(due, context.segment(images), strict=True):
        if isinstance(outcome, Exception):
            failures.add(frame, outcome)
        else:
            found[frame.index] = outcome
    return found
